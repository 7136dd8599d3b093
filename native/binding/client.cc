// NativeClient of binding.d.ts: a reactor thread with an objecter, devices, their exports, load
// and copy jobs.
#include <map>
#include <utility>
#include <vector>

#include "bench_value.hh"
#include "client_copies.hh"
#include "client_diffs.hh"
#include "client_images.hh"
#include "client_locks.hh"
#include "client_map.hh"
#include "client_state.hh"
#include "client_values.hh"
#include "convert.hh"
#include "core_thread.hh"
#include "device_io.hh"
#include "events.hh"
#include "exports.hh"
#include "history.hh"
#include "image/bench_job.hh"
#include "image/null_device.hh"
#include "image_values.hh"

namespace cairn::binding {

namespace {

constexpr std::size_t kMinPrunedPromises = 256;

net::StepCode step_code(const std::string& name) {
  static const std::map<std::string, net::StepCode> kCodes = {
      {"read", net::StepCode::read},
      {"touch", net::StepCode::touch},
      {"remove", net::StepCode::remove},
      {"stat", net::StepCode::stat},
      {"assertExists", net::StepCode::assert_exists},
      {"assertAbsent", net::StepCode::assert_absent},
      {"omapGet", net::StepCode::omap_get},
      {"omapList", net::StepCode::omap_list},
      {"omapCompare", net::StepCode::omap_compare},
      {"omapSet", net::StepCode::omap_set},
      {"omapRemove", net::StepCode::omap_remove},
      {"notify", net::StepCode::notify},
      {"listWatchers", net::StepCode::list_watchers}};
  const auto found = kCodes.find(name);
  CAIRN_ASSERT(found != kCodes.end());
  return found->second;
}

std::vector<net::Step> get_steps(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<net::Step> steps;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    const auto object = array.Get(i).As<Napi::Object>();
    net::Step step;
    step.code = step_code(get_text(object, "code"));
    if (object.Has("offset")) step.offset = get_u64(object, "offset");
    if (object.Has("length")) step.length = get_u64(object, "length");
    if (object.Has("key")) step.key = get_text(object, "key");
    if (object.Has("value")) step.value = std::string(as_text(get_bytes(object.Get("value"))));
    steps.push_back(std::move(step));
  }
  return steps;
}

class Client : public Napi::ObjectWrap<Client> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "Client",
        {InstanceMethod<&Client::set_map>("setMap"),
         InstanceMethod<&Client::operate>("operate"),
         InstanceMethod<&Client::make<&open_image_task>>("openImage"),
         InstanceMethod<&Client::open_null>("openNull"),
         InstanceMethod<&Client::make<&open_source_task>>("openSource"),
         InstanceMethod<&Client::task<&source_fetched_task>>("sourceFetched"),
         InstanceMethod<&Client::question<&retarget_task>>("retarget"),
         InstanceMethod<&Client::task<&set_snap_context_task>>("setSnapContext"),
         InstanceMethod<&Client::question<&set_parent_task>>("setParent"),
         InstanceMethod<&Client::question<&set_qos_task>>("setQos"),
         InstanceMethod<&Client::question<&device_stats_task>>("deviceStats"),
         InstanceMethod<&Client::question<&trace_device_task>>("traceDevice"),
         InstanceMethod<&Client::job<&diff_image_task>>("diffImage"),
         InstanceMethod<&Client::job<&measure_image_task>>("measureImage"),
         InstanceMethod<&Client::job<&rollback_image_task>>("rollbackImage"),
         InstanceMethod<&Client::job<&flatten_image_task>>("flattenImage"),
         InstanceMethod<&Client::job<&provision_image_task>>("provisionImage"),
         InstanceMethod<&Client::job<&sparsify_image_task>>("sparsifyImage"),
         InstanceMethod<&Client::job<&remove_objects_task>>("removeObjects"),
         InstanceMethod<&Client::task<&cancel_jobs_task>>("cancelJobs"),
         InstanceMethod<&Client::set_image_size>("setImageSize"),
         InstanceMethod<&Client::task<&open_gate_task>>("openGate"),
         InstanceMethod<&Client::question<&drain_gate_task>>("drainGate"),
         InstanceMethod<&Client::task<&fail_gate_task>>("failGate"),
         InstanceMethod<&Client::task<&released_task>>("released"),
         InstanceMethod<&Client::question<&sweep_fence_task>>("sweepFence"),
         InstanceMethod<&Client::watch>("watch"),
         InstanceMethod<&Client::question<&unwatch_task>>("unwatch"),
         InstanceMethod<&Client::task<&answer_notify_task>>("answerNotify"),
         InstanceMethod<&Client::close_device>("closeDevice"),
         InstanceMethod<&Client::discard>("discard"),
         InstanceMethod<&Client::device_io<DeviceIo::Kind::read>>("readDevice"),
         InstanceMethod<&Client::device_io<DeviceIo::Kind::write>>("writeDevice"),
         InstanceMethod<&Client::device_io<DeviceIo::Kind::write_zeroes>>("writeZeroes"),
         InstanceMethod<&Client::device_io<DeviceIo::Kind::flush>>("flush"),
         InstanceMethod<&Client::serve_vhost_user>("serveVhostUser"),
         InstanceMethod<&Client::serve_nbd>("serveNbd"),
         InstanceMethod<&Client::set_dirty_bitmaps>("setDirtyBitmaps"),
         InstanceMethod<&Client::stop_export>("stopExport"),
         InstanceMethod<&Client::bench>("bench"),
         InstanceMethod<&Client::history>("history"),
         InstanceMethod<&Client::make<&import_begin_task>>("importBegin"),
         InstanceMethod<&Client::question<&import_extents_task>>("importExtents"),
         InstanceMethod<&Client::question<&import_end_task>>("importEnd"),
         InstanceMethod<&Client::job<&import_raw_task>>("importRaw"),
         InstanceMethod<&Client::job<&import_stream_task>>("importStream"),
         InstanceMethod<&Client::job<&export_to_task>>("exportTo"),
         InstanceMethod<&Client::job<&export_diff_task>>("exportDiff"),
         InstanceMethod<&Client::question<&open_diff_task>>("openDiff"),
         InstanceMethod<&Client::question<&next_diff_task>>("nextDiff"),
         InstanceMethod<&Client::job<&import_diff_task>>("importDiff"),
         InstanceMethod<&Client::task<&close_diff_task>>("closeDiff"),
         InstanceMethod<&Client::job<&merge_diffs_task>>("mergeDiffs"),
         InstanceMethod<&Client::task<&cancel_job_task>>("cancelJob"),
         InstanceMethod<&Client::task<&cancel_copies_task>>("cancelCopies"),
         InstanceMethod<&Client::stats>("stats"),
         InstanceMethod<&Client::close>("close")});
  }

  explicit Client(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Client>(info) {
    const auto options = info[0].As<Napi::Object>();
    auto thread = CoreThread::start(info.Env(), "cairn-client");
    if (!thread) {
      const Napi::Value error = error_value(info.Env(), thread.status());
      Napi::Error(info.Env(), error).ThrowAsJavaScriptException();
      return;
    }
    thread_ = std::move(*thread);
    callback_ = std::make_shared<Napi::FunctionReference>(
        Napi::Persistent(options.Get("onEvents").As<Napi::Function>()));
    const ClientId id = get_bigint(options, "clientId");
    net::TcpConfig config;
    config.cluster = get_uuid(options, "clusterId");
    config.self = {net::EntityKind::client, id, id};
    config.local_sockets = get_flag(options, "localSockets");
    ClientHooks hooks;
    hooks.need_map = [this](Epoch epoch) {
      emit("needMap", [epoch](Napi::Env, Napi::Object& event) { event.Set("epoch", epoch); });
    };
    hooks.log = [this](LogLevel level, std::string_view text) {
      emit("log", [level, line = std::string(text)](Napi::Env, Napi::Object& event) {
        event.Set("level", level_name(level));
        event.Set("text", line);
      });
    };
    hooks.device = [this](std::uint32_t device, image::AccessEvent happened) {
      emit("device", [device, happened](Napi::Env, Napi::Object& event) {
        event.Set("device", device);
        event.Set("state", access_event_name(happened));
      });
    };
    hooks.source_wanted = [this](std::uint32_t device, std::uint32_t source, std::uint64_t offset,
                                 std::uint64_t length) {
      emit("sourceWanted", [device, source, offset, length](Napi::Env, Napi::Object& event) {
        event.Set("device", device);
        event.Set("source", source);
        event.Set("offset", static_cast<double>(offset));
        event.Set("lengthBytes", static_cast<double>(length));
      });
    };
    hooks.source_closed = [this](std::uint32_t device) {
      emit("sourceClosed",
           [device](Napi::Env, Napi::Object& event) { event.Set("device", device); });
    };
    hooks.watch = [this](std::uint32_t watch, std::uint64_t answer, std::string payload) {
      emit("notify",
           [watch, answer, payload = std::move(payload)](Napi::Env env, Napi::Object& event) {
             event.Set("watch", watch);
             event.Set("answer", static_cast<double>(answer));
             event.Set("payload", bytes_value(env, as_bytes(payload)));
           });
    };
    hooks.watch_lapsed = [this](std::uint32_t watch, const Status& status) {
      emit("watchLapsed", [watch, status](Napi::Env env, Napi::Object& event) {
        event.Set("watch", watch);
        if (!status) event.Set("error", error_value(env, status));
      });
    };
    thread_->post([this, config = std::move(config),
                   cache = get_parent_cache(options.Get("parentCache")),
                   hooks = std::move(hooks)]() mutable {
      state_ = std::make_unique<ClientState>(thread_->reactor(), std::move(config),
                                             std::move(cache), std::move(hooks));
    });
  }

 private:
  template <typename Fill>
  void emit(const char* type, Fill fill) {
    emit_event(*thread_, callback_, type, std::move(fill));
  }

  static Status closed_status() { return {ErrorCode::canceled, "the client is closed"}; }
  // A promise that is settled at the latest when the client has closed.
  Promise new_promise(Napi::Env env) {
    if (promises_.size() >= prune_promises_at_) {
      std::erase_if(promises_, [](const Promise& promise) { return promise.settled(); });
      prune_promises_at_ = 2 * promises_.size() + kMinPrunedPromises;
    }
    return promises_.emplace_back(env, *thread_);
  }
  template <typename Run>
  void run(Run run_task) {
    if (ended_) return;
    thread_->post([this, run_task = std::move(run_task)]() mutable {
      if (state_ != nullptr) run_task(*state_);
    });
  }
  template <typename Run>
  Napi::Value ask(const Napi::CallbackInfo& info, Run run_task) {
    const Promise promise = new_promise(info.Env());
    if (closed_) {
      promise.reject_now(info.Env(), closed_status());
      return promise.value();
    }
    thread_->post([this, promise, run_task = std::move(run_task)]() mutable {
      if (state_ == nullptr || closing_) return promise.reject(closed_status());
      run_task(*state_, promise);
    });
    return promise.value();
  }
  // As ask(), for a task on an open device.
  template <typename Run>
  Napi::Value ask_device(const Napi::CallbackInfo& info, Run run_task) {
    const auto handle = static_cast<std::uint32_t>(info[0].ToNumber().Uint32Value());
    return ask(info, [handle, run_task = std::move(run_task)](ClientState& state,
                                                              const Promise& promise) mutable {
      image::BlockDevice* device = state.device(handle);
      if (device == nullptr) {
        return promise.reject(Status(ErrorCode::not_found, "the device is closed"));
      }
      run_task(state, *device, promise);
    });
  }
  template <ClientTask (*kMake)(const Napi::CallbackInfo&)>
  void task(const Napi::CallbackInfo& info) {
    run(kMake(info));
  }
  template <ClientQuestion (*kMake)(const Napi::CallbackInfo&)>
  Napi::Value question(const Napi::CallbackInfo& info) {
    return ask(info, kMake(info));
  }
  // One whose callbacks go back through the thread.
  template <ClientQuestion (*kMake)(const Napi::CallbackInfo&, CoreThread&)>
  Napi::Value job(const Napi::CallbackInfo& info) {
    return ask(info, kMake(info, *thread_));
  }
  // One that makes something; TypeScript gets its handle now.
  template <ClientTask (*kMake)(const Napi::CallbackInfo&, std::uint32_t handle)>
  Napi::Value make(const Napi::CallbackInfo& info) {
    const std::uint32_t handle = next_handle_++;
    run(kMake(info, handle));
    return Napi::Number::New(info.Env(), handle);
  }
  static void resolve_number(const Promise& promise, Result<std::uint32_t> number) {
    if (!number) return promise.reject(number.status());
    promise.resolve([number = *number](Napi::Env env) -> Napi::Value {
      return Napi::Number::New(env, number);
    });
  }
  void set_map(const Napi::CallbackInfo& info) {
    run([map = get_client_map(info[0].As<Napi::Object>())](ClientState& state) mutable {
      state.objecter().set_map(std::move(map));
    });
  }

  Napi::Value operate(const Napi::CallbackInfo& info) {
    objecter::Target target{info[0].ToNumber().Uint32Value(), info[1].ToString().Utf8Value()};
    if (info[3].IsObject()) {
      const auto options = info[3].As<Napi::Object>();
      if (options.Get("snap").IsNumber()) target.snap = get_u64(options, "snap");
      target.context = get_snap_context(options.Get("snapContext"));
    }
    return ask(info, [target = std::move(target), steps = get_steps(info[2])](
                         ClientState& state, const Promise& promise) mutable {
      state.objecter().submit(
          std::move(target), std::move(steps), {},
          [promise](Status status, net::OpReply reply, Buffer) {
            if (!status) return promise.reject(status);
            promise.resolve([reply = std::move(reply)](Napi::Env env) -> Napi::Value {
              Napi::Object result = Napi::Object::New(env);
              Napi::Array omap = Napi::Array::New(env, reply.omap.size());
              for (std::uint32_t i = 0; i < reply.omap.size(); ++i) {
                Napi::Array pair = Napi::Array::New(env, 2);
                pair.Set(0U, reply.omap[i].first);
                pair.Set(1U, bytes_value(env, as_bytes(reply.omap[i].second)));
                omap.Set(i, pair);
              }
              result.Set("exists", reply.exists);
              result.Set("omap", omap);
              return result;
            });
          });
    });
  }

  Napi::Value open_null(const Napi::CallbackInfo& info) {
    const auto size = static_cast<std::uint64_t>(info[0].ToNumber().Int64Value());
    const std::uint32_t handle = next_handle_++;
    run([handle, size](ClientState& state) {
      state.devices().open_plain(handle, std::make_unique<image::NullDevice>(size));
    });
    return Napi::Number::New(info.Env(), handle);
  }
  void set_image_size(const Napi::CallbackInfo& info) {
    const auto size = static_cast<std::uint64_t>(info[1].ToNumber().Int64Value());
    run([handle = info[0].ToNumber().Uint32Value(), size](ClientState& state) {
      state.set_image_size(handle, size);
    });
  }
  Napi::Value watch(const Napi::CallbackInfo& info) {
    return ask(info, watch_task(info, next_handle_++));
  }
  void close_device(const Napi::CallbackInfo& info) {
    run([handle = info[0].ToNumber().Uint32Value()](ClientState& state) {
      state.devices().close(handle);
    });
  }

  Napi::Value discard(const Napi::CallbackInfo& info) {
    const auto offset = static_cast<std::uint64_t>(info[1].ToNumber().Int64Value());
    const auto length = static_cast<std::uint64_t>(info[2].ToNumber().Int64Value());
    return ask_device(
        info, [offset, length](ClientState&, image::BlockDevice& device, const Promise& promise) {
          device.discard(offset, length, [promise](Status status) { promise.settle(status); });
        });
  }

  template <DeviceIo::Kind kKind>
  Napi::Value device_io(const Napi::CallbackInfo& info) {
    return ask_device(
        info, [request = get_device_io(info, kKind)](ClientState&, image::BlockDevice& device,
                                                     const Promise& promise) mutable {
          start_device_io(std::move(request), device, promise);
        });
  }

  Napi::Value serve_vhost_user(const Napi::CallbackInfo& info) {
    const auto options = info[1].As<Napi::Object>();
    return ask_device(
        info, [socket = get_text(options, "socket"),
               queues = static_cast<std::uint16_t>(get_u64(options, "queues")),
               serial = get_text(options, "serial")](ClientState& state, image::BlockDevice& device,
                                                     const Promise& promise) {
          resolve_number(promise, state.serve_vhost_user(device, socket, queues, serial));
        });
  }
  Napi::Value serve_nbd(const Napi::CallbackInfo& info) {
    return ask(info, [handle = info[0].ToNumber().Uint32Value(),
                      spec = get_nbd_spec(info[1].As<Napi::Object>())](
                         ClientState& state, const Promise& promise) mutable {
      resolve_number(promise, state.serve_nbd(handle, std::move(spec)));
    });
  }
  Napi::Value set_dirty_bitmaps(const Napi::CallbackInfo& info) {
    return ask(info, [handle = info[0].ToNumber().Uint32Value(), bitmaps = get_bitmaps(info[1])](
                         ClientState& state, const Promise& promise) {
      promise.settle(state.set_dirty_bitmaps(handle, bitmaps));
    });
  }
  Napi::Value stop_export(const Napi::CallbackInfo& info) {
    return ask(info, [handle = info[0].ToNumber().Uint32Value()](ClientState& state,
                                                                 const Promise& promise) {
      state.stop_export(handle, [promise](Status status) { promise.settle(status); });
    });
  }

  Napi::Value bench(const Napi::CallbackInfo& info) {
    const auto options = info[1].As<Napi::Object>();
    const image::BenchSpec spec = get_bench_spec(options);
    return ask_device(info, [spec](ClientState& state, image::BlockDevice& device,
                                   const Promise& promise) {
      if (const Status allowed = image::BenchJob::check(device, spec); !allowed) {
        return promise.reject(allowed);
      }
      image::BenchJob::start(state.reactor(), device, spec, [promise](image::BenchReport report) {
        if (report.errors != 0) return promise.reject(report.first_error);
        auto shared = std::make_shared<image::BenchReport>(std::move(report));
        promise.resolve([shared](Napi::Env env) { return bench_value(env, *shared); });
      });
    });
  }
  Napi::Value history(const Napi::CallbackInfo& info) {
    return ask_device(info, [spec = get_history_spec(info[1].As<Napi::Object>())](
                                ClientState& state, image::BlockDevice& device,
                                const Promise& promise) {
      if (const Status fits = image::HistoryJob::check(device, spec); !fits) {
        return promise.reject(fits);
      }
      image::HistoryJob::start(state.reactor(), device, spec, [promise](image::History history) {
        auto shared = std::make_shared<image::History>(std::move(history));
        promise.resolve([shared](Napi::Env env) { return history_value(env, *shared); });
      });
    });
  }
  Napi::Value stats(const Napi::CallbackInfo& info) {
    return ask(info, [](ClientState& state, const Promise& promise) {
      auto counters = std::make_shared<objecter::ObjecterCounters>(state.objecter().counters());
      promise.resolve(
          [counters, net = state.net_counters(),
           oldest_ns = state.objecter().oldest_operation_ns()](Napi::Env env) -> Napi::Value {
            Napi::Object values = Napi::Object::New(env);
            const auto set = [&values](const char* name, std::uint64_t value) {
              values.Set(name, static_cast<double>(value));
            };
            set("operations", counters->operations);
            set("resends", counters->resends);
            set("errors", counters->errors);
            set("connectionLosses", counters->connection_losses);
            set("inFlight", counters->in_flight);
            set("netBytesSent", net.bytes_sent);
            set("netBytesReceived", net.bytes_received);
            set("netProtocolErrors", net.protocol_errors);
            set("netConnections_unix", net.local_connections);
            set("netConnections_tcp", net.connections - net.local_connections);
            Napi::Object histograms = Napi::Object::New(env);
            histograms.Set("operation", histogram_value(env, counters->latency_ns));
            Napi::Object object = Napi::Object::New(env);
            object.Set("counters", values);
            object.Set("histograms", histograms);
            object.Set("oldestOperationMs", static_cast<double>(oldest_ns) / 1e6);
            return object;
          });
    });
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    const Promise promise(info.Env(), *thread_);
    if (ended_) promise.resolve_undefined_now(info.Env());
    if (!ended_) closers_.push_back(promise);
    if (std::exchange(closed_, true)) return promise.value();
    Ref();
    thread_->post([this] {
      closing_ = true;
      state_->shut_down([this] {
        state_.reset();
        thread_->to_js([this](Napi::Env env) { end(env); });
      });
    });
    return promise.value();
  }
  // Whatever nobody has answered, nobody will.
  void end(Napi::Env env) {
    thread_->stop_and_join();
    ended_ = true;
    for (const Promise& promise : std::exchange(promises_, {}))
      promise.reject_now(env, closed_status());
    for (const Promise& promise : std::exchange(closers_, {})) promise.resolve_undefined_now(env);
    Unref();
  }

  std::unique_ptr<CoreThread> thread_;
  std::shared_ptr<Napi::FunctionReference> callback_;
  // On the core's thread.
  std::unique_ptr<ClientState> state_;
  bool closing_ = false;  // nothing more is begun
  // On the JavaScript thread.
  std::vector<Promise> promises_;  // not settled yet, and some that are
  std::size_t prune_promises_at_ = kMinPrunedPromises;
  std::vector<Promise> closers_;
  bool closed_ = false;  // close() was called
  bool ended_ = false;   // the thread is gone
  std::uint32_t next_handle_ = 1;
};

}  // namespace

Napi::Function define_client(Napi::Env env) { return Client::define(env); }

}  // namespace cairn::binding
