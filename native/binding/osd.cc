// NativeOsd of binding.d.ts: a store, a messenger and an OsdCore on an OsdPlatform.
#include <utility>

#include "convert.hh"
#include "disk_faults.hh"
#include "events.hh"
#include "exports.hh"
#include "missing_value.hh"
#include "object_store/object_store.hh"
#include "osd_platform.hh"
#include "osd_stats.hh"
#include "pg/layer_names.hh"
#include "pg/osd_core.hh"
#include "pg/whole_object.hh"
#include "pg_answers.hh"
#include "scrub_events.hh"
#include "sim_world.hh"

namespace cairn::binding {

namespace {

// The events of an OsdCore as events of binding.d.ts.
class EventSink : public ScrubEventSink {
 public:
  using ScrubEventSink::ScrubEventSink;

  void log(const char* level, const std::string& text) {
    emit("log", [level, text](Napi::Env, Napi::Object& event) {
      event.Set("level", level);
      event.Set("text", text);
    });
  }

  void on_interval_started(PgId pg, Epoch interval, const pg::PgInfo& info) override {
    emit("intervalStarted", [pg, interval, info](Napi::Env, Napi::Object& event) {
      set_pg(event, pg, interval);
      set_pg_info(event, info);
    });
  }
  void on_activated(PgId pg, Epoch interval, const Status& status) override {
    emit("activated", [pg, interval, status](Napi::Env env, Napi::Object& event) {
      set_pg(event, pg, interval);
      if (!status) event.Set("error", error_value(env, status));
    });
  }
  void on_recovery_progress(PgId pg, Epoch interval, std::uint64_t missing) override {
    emit("recoveryProgress", [pg, interval, missing](Napi::Env, Napi::Object& event) {
      set_pg(event, pg, interval);
      event.Set("missingCount", static_cast<double>(missing));
    });
  }
  void on_recovery_failed(PgId pg, Epoch interval, const std::string& object,
                          const Status& status) override {
    emit("recoveryFailed", [pg, interval, object, status](Napi::Env env, Napi::Object& event) {
      set_pg(event, pg, interval);
      event.Set("object", object);
      event.Set("error", error_value(env, status));
    });
  }
  void on_control(const net::Entity& from, ByteSpan body) override {
    emit("control", [from, bytes = std::vector<std::byte>(body.begin(), body.end())](
                        Napi::Env env, Napi::Object& event) {
      event.Set("fromOsd", static_cast<double>(from.id));
      event.Set("fromIncarnation", Napi::BigInt::New(env, from.incarnation));
      event.Set("body", bytes_value(env, bytes));
    });
  }
  void on_need_map(Epoch epoch) override {
    emit("needMap", [epoch](Napi::Env, Napi::Object& event) { event.Set("epoch", epoch); });
  }
  void on_peer_failed(OsdId osd, std::uint64_t incarnation, const std::string& reason) override {
    emit("peerFailed", [osd, incarnation, reason](Napi::Env env, Napi::Object& event) {
      event.Set("osd", osd);
      event.Set("incarnation", Napi::BigInt::New(env, incarnation));
      event.Set("reason", reason);
    });
  }
  void on_peer_recovered(OsdId osd, std::uint64_t incarnation) override {
    emit("peerRecovered", [osd, incarnation](Napi::Env env, Napi::Object& event) {
      event.Set("osd", osd);
      event.Set("incarnation", Napi::BigInt::New(env, incarnation));
    });
  }
  void on_store_failed(const Status& status) override {
    emit("storeFailed", [status](Napi::Env env, Napi::Object& event) {
      event.Set("error", error_value(env, status));
    });
  }
};

// What lives on the core's executor.
struct OsdState {
  std::shared_ptr<io::Disk> disk;
  std::unique_ptr<io::FaultDisk> fault_disk;  // over disk, when asked for
  std::unique_ptr<object_store::ObjectStore> store;
  std::unique_ptr<pg::OsdCore> core;
  std::unique_ptr<net::Messenger> messenger;
};

class Osd : public Napi::ObjectWrap<Osd> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Osd",
                       {InstanceMethod<&Osd::open>("open"),
                        InstanceMethod<&Osd::listen>("listen"),
                        InstanceMethod<&Osd::set_map_epoch>("setMapEpoch"),
                        InstanceMethod<&Osd::set_peers>("setPeers"),
                        InstanceMethod<&Osd::set_full>("setFull"),
                        InstanceMethod<&Osd::set_blocklist>("setBlocklist"),
                        InstanceMethod<&Osd::loop_tick>("loopTick"),
                        InstanceMethod<&Osd::set_disk_faults>("setDiskFaults"),
                        InstanceMethod<&Osd::set_pg_num>("setPgNum"),
                        InstanceMethod<&Osd::start_interval>("startInterval"),
                        InstanceMethod<&Osd::activate>("activate"),
                        InstanceMethod<&Osd::go_active>("goActive"),
                        InstanceMethod<&Osd::set_recovery>("setRecovery"),
                        InstanceMethod<&Osd::start_scrub>("startScrub"),
                        InstanceMethod<&Osd::stop_scrub>("stopScrub"),
                        InstanceMethod<&Osd::set_scrub_record>("setScrubRecord"),
                        InstanceMethod<&Osd::set_removed_snaps>("setRemovedSnaps"),
                        InstanceMethod<&Osd::start_snap_trim>("startSnapTrim"),
                        InstanceMethod<&Osd::stop_snap_trim>("stopSnapTrim"),
                        InstanceMethod<&Osd::remove_pg>("removePg"),
                        InstanceMethod<&Osd::send_control>("sendControl"),
                        InstanceMethod<&Osd::pg_statuses>("pgStatuses"),
                        InstanceMethod<&Osd::pg_log>("pgLog"),
                        InstanceMethod<&Osd::pg_horizon>("pgHorizon"),
                        InstanceMethod<&Osd::pg_missing>("pgMissing"),
                        InstanceMethod<&Osd::list_objects>("listObjects"),
                        InstanceMethod<&Osd::next_object>("nextObject"),
                        InstanceMethod<&Osd::get_meta>("getMeta"),
                        InstanceMethod<&Osd::set_meta>("setMeta"),
                        InstanceMethod<&Osd::stats>("stats"),
                        InstanceMethod<&Osd::close>("close")});
  }

  explicit Osd(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Osd>(info) {
    const auto options = info[0].As<Napi::Object>();
    OsdSelf self;
    self.path = get_text(options, "path");
    self.cluster = cluster_ = get_uuid(options, "clusterId");
    self.osd = osd_ = static_cast<OsdId>(get_u64(options, "osd"));
    self.incarnation = incarnation_ = get_bigint(options, "incarnation");
    self.local_sockets = get_flag(options, "localSockets");
    self.moves_overwrites = get_flag(options, "movesOverwrites");
    if (!options.Get("metadataCacheBytes").IsUndefined())
      self.metadata_cache_bytes = get_u64(options, "metadataCacheBytes");
    if (options.Has("diskFaults")) {
      disk_faults_ = get_disk_faults(options.Get("diskFaults").As<Napi::Object>());
    }
    auto platform = options.Has("world") ? make_sim_osd_platform(options.Get("world"), self)
                                         : make_real_osd_platform(info.Env(), self);
    if (!platform) {
      const Napi::Value error = error_value(info.Env(), platform.status());
      Napi::Error(info.Env(), error).ThrowAsJavaScriptException();
      return;
    }
    platform_ = std::move(*platform);
    host_ = &platform_->host();
    platform_->on_death([this] { drop_state(); });
    auto callback = std::make_shared<Napi::FunctionReference>(
        Napi::Persistent(options.Get("onEvents").As<Napi::Function>()));
    events_ = std::make_unique<EventSink>(*host_, std::move(callback));
  }

 private:
  // Runs a task on the core, if it is open.
  template <typename Run>
  void run(Run run_task) {
    host_->post([this, run_task = std::move(run_task)]() mutable {
      if (state_.core != nullptr) run_task(*state_.core);
    });
  }
  // As run(), for a call with an answer: rejects when the core is not open.
  template <typename Run>
  Napi::Value ask(const Napi::CallbackInfo& info, Run run_task) {
    const Promise promise(info.Env(), *host_);
    host_->post([this, promise, run_task = std::move(run_task)]() mutable {
      if (state_.core == nullptr) {
        return promise.reject(Status(ErrorCode::not_active, "the OSD is not open"));
      }
      run_task(*state_.core, promise);
    });
    return promise.value();
  }

  Status open_now() {
    auto disk = platform_->open_disk();
    if (!disk) return disk.status();
    state_.disk = std::move(*disk);
    io::Disk* used_disk = state_.disk.get();
    if (disk_faults_) {
      state_.fault_disk = std::make_unique<io::FaultDisk>(platform_->executor(), *state_.disk,
                                                          *disk_faults_, incarnation_);
      used_disk = state_.fault_disk.get();
    }
    object_store::Options options = platform_->store_options();
    options.post_back = [this](io::Task task) { host_->post(std::move(task)); };
    options.log = [this](const char* level, const std::string& text) { events_->log(level, text); };
    const object_store::Identity expected{cluster_, osd_, {}};
    auto store = object_store::ObjectStore::open(platform_->executor(), *used_disk, expected,
                                                 std::move(options));
    if (!store) return store.status();
    state_.store = std::move(*store);
    auto core = std::make_unique<pg::OsdCore>(platform_->executor(), *state_.store, *events_, osd_);
    core->set_log_entries_kept(platform_->log_entries_kept());
    CAIRN_RETURN_IF_ERROR(core->load());
    const auto log = [this](LogLevel level, std::string_view text) {
      events_->log(level_name(level), std::string(text));
    };
    state_.messenger = platform_->make_messenger(*core, log);
    core->attach(*state_.messenger);
    state_.core = std::move(core);
    return Status::ok();
  }

  Napi::Value open(const Napi::CallbackInfo& info) {
    const Promise promise(info.Env(), *host_);
    host_->post([this, promise] {
      const Status status = open_now();
      if (!status) return promise.reject(status);
      answer_statuses(*state_.core, promise);
    });
    return promise.value();
  }

  Napi::Value listen(const Napi::CallbackInfo& info) {
    return ask(info, [this, address = get_address(info[0])](pg::OsdCore&, const Promise& promise) {
      auto port = state_.messenger->listen(address);
      if (!port) return promise.reject(port.status());
      promise.resolve(
          [port = *port](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, port); });
    });
  }

  void set_map_epoch(const Napi::CallbackInfo& info) {
    run([epoch = info[0].ToNumber().Uint32Value()](pg::OsdCore& core) {
      core.set_map_epoch(epoch);
    });
  }
  void set_peers(const Napi::CallbackInfo& info) {
    const auto array = info[0].As<Napi::Array>();
    std::vector<pg::Peer> peers;
    for (std::uint32_t i = 0; i < array.Length(); ++i) {
      const auto peer = array.Get(i).As<Napi::Object>();
      peers.push_back({static_cast<OsdId>(get_u64(peer, "osd")), get_address(peer.Get("address")),
                       get_bigint(peer, "incarnation")});
    }
    run([peers = std::move(peers)](pg::OsdCore& core) { core.set_peers(peers); });
  }
  void set_blocklist(const Napi::CallbackInfo& info) {
    run([clients = get_bigints(info[0])](pg::OsdCore& core) { core.set_blocklist(clients); });
  }
  void set_full(const Napi::CallbackInfo& info) {
    run([full = info[0].ToBoolean().Value()](pg::OsdCore& core) { core.set_full(full); });
  }
  void loop_tick(const Napi::CallbackInfo&) {
    run([](pg::OsdCore& core) { core.loop_tick(); });
  }
  Napi::Value set_disk_faults(const Napi::CallbackInfo& info) {
    return ask(info, [this, faults = get_disk_faults(info[0].As<Napi::Object>())](
                         pg::OsdCore&, const Promise& promise) {
      CAIRN_ASSERT(state_.fault_disk != nullptr);
      state_.fault_disk->set_faults(faults);
      promise.resolve([counters = state_.fault_disk->counters()](Napi::Env env) {
        return disk_fault_counters_value(env, counters);
      });
    });
  }
  void set_pg_num(const Napi::CallbackInfo& info) {
    run([pg = get_pg(info), pg_num = info[2].ToNumber().Uint32Value()](pg::OsdCore& core) {
      core.set_pg_num(pg, pg_num);
    });
  }
  void start_interval(const Napi::CallbackInfo& info) {
    run([pg = get_pg(info), spec = get_interval(info[2].As<Napi::Object>())](pg::OsdCore& core) {
      core.start_interval(pg, spec);
    });
  }
  void activate(const Napi::CallbackInfo& info) {
    auto activation = get_activation(info[2].As<Napi::Object>());
    if (!activation) {
      const Napi::Value error = error_value(info.Env(), activation.status());
      return Napi::Error(info.Env(), error).ThrowAsJavaScriptException();
    }
    run([pg = get_pg(info), activation = std::move(*activation)](pg::OsdCore& core) mutable {
      core.activate(pg, std::move(activation));
    });
  }
  void go_active(const Napi::CallbackInfo& info) {
    run([pg = get_pg(info), interval = info[2].ToNumber().Uint32Value()](pg::OsdCore& core) {
      core.go_active(pg, interval);
    });
  }
  void set_recovery(const Napi::CallbackInfo& info) {
    run([pg = get_pg(info), interval = info[2].ToNumber().Uint32Value(),
         limit = info[3].ToNumber().Uint32Value()](pg::OsdCore& core) {
      core.set_recovery(pg, interval, limit);
    });
  }
  void start_scrub(const Napi::CallbackInfo& info) {
    run([pg = get_pg(info), interval = info[2].ToNumber().Uint32Value(),
         spec = get_scrub_spec(info[3].As<Napi::Object>())](pg::OsdCore& core) mutable {
      core.start_scrub(pg, interval, std::move(spec));
    });
  }
  void stop_scrub(const Napi::CallbackInfo& info) {
    run([pg = get_pg(info), interval = info[2].ToNumber().Uint32Value()](pg::OsdCore& core) {
      core.stop_scrub(pg, interval);
    });
  }
  void set_scrub_record(const Napi::CallbackInfo& info) {
    run([pg = get_pg(info), interval = info[2].ToNumber().Uint32Value(),
         record = info[3].ToString().Utf8Value()](pg::OsdCore& core) {
      core.set_scrub_record(pg, interval, record);
    });
  }
  void set_removed_snaps(const Napi::CallbackInfo& info) {
    run([pools = get_removed_snaps(info[0])](pg::OsdCore& core) { core.set_removed_snaps(pools); });
  }
  void start_snap_trim(const Napi::CallbackInfo& info) {
    run([pg = get_pg(info), interval = info[2].ToNumber().Uint32Value(),
         spec = get_snap_trim_spec(info[3].As<Napi::Object>())](pg::OsdCore& core) mutable {
      core.start_snap_trim(pg, interval, std::move(spec));
    });
  }
  void stop_snap_trim(const Napi::CallbackInfo& info) {
    run([pg = get_pg(info), interval = info[2].ToNumber().Uint32Value()](pg::OsdCore& core) {
      core.stop_snap_trim(pg, interval);
    });
  }
  void remove_pg(const Napi::CallbackInfo& info) {
    run([pg = get_pg(info)](pg::OsdCore& core) { core.remove_pg(pg); });
  }
  void send_control(const Napi::CallbackInfo& info) {
    run([osd = info[0].ToNumber().Int32Value(), body = get_bytes(info[1])](pg::OsdCore& core) {
      core.send_control(osd, body);
    });
  }

  Napi::Value pg_statuses(const Napi::CallbackInfo& info) {
    return ask(info, [](pg::OsdCore& core, const Promise& p) { answer_statuses(core, p); });
  }
  Napi::Value pg_log(const Napi::CallbackInfo& info) {
    const auto after = static_cast<std::uint64_t>(info[2].ToNumber().Int64Value());
    const auto limit = info[3].ToNumber().Uint32Value();
    return ask(info, [pg = get_pg(info), after, limit](pg::OsdCore& core, const Promise& promise) {
      answer_log(core.find_pg(pg), after, limit, promise);
    });
  }
  Napi::Value pg_horizon(const Napi::CallbackInfo& info) {
    return ask(info, [pg = get_pg(info)](pg::OsdCore& core, const Promise& promise) {
      const pg::Pg* found = core.find_pg(pg);
      promise.resolve([bytes = found == nullptr ? pg::DupHorizon().encode()
                                                : found->horizon().encode()](Napi::Env env) {
        return bytes_value(env, bytes);
      });
    });
  }
  Napi::Value pg_missing(const Napi::CallbackInfo& info) {
    return ask(info, [pg = get_pg(info)](pg::OsdCore& core, const Promise& promise) {
      const pg::Pg* found = core.find_pg(pg);
      std::map<std::string, pg::Missing> missing;
      if (found != nullptr) missing = found->missing();
      promise.resolve([missing = std::move(missing)](Napi::Env env) -> Napi::Value {
        return missing_value(env, missing);
      });
    });
  }
  Napi::Value list_objects(const Napi::CallbackInfo& info) {
    const PgId pg = get_pg(info);
    std::optional<std::string> after;
    if (info[2].IsString()) after = info[2].ToString().Utf8Value();
    const auto limit = info[3].ToNumber().Uint32Value();
    return ask(info, [this, pg, after, limit](pg::OsdCore&, const Promise& promise) {
      pg::list_heads(
          *state_.store, pg, after, limit,
          [promise](Status status, std::vector<object_store::ListedObject> objects) {
            if (!status) return promise.reject(status);
            promise.resolve([objects = std::move(objects)](Napi::Env env) -> Napi::Value {
              Napi::Array array = Napi::Array::New(env, objects.size());
              for (std::uint32_t i = 0; i < objects.size(); ++i) {
                Napi::Array pair = Napi::Array::New(env, 2);
                pair.Set(0U, objects[i].id.name);
                pair.Set(1U, version_value(env, objects[i].version));
                array.Set(i, pair);
              }
              return array;
            });
          });
    });
  }
  Napi::Value next_object(const Napi::CallbackInfo& info) {
    const PgId pg = get_pg(info);
    std::optional<std::string> after;
    if (info[2].IsString()) after = info[2].ToString().Utf8Value();
    return ask(info, [this, pg, after](pg::OsdCore&, const Promise& promise) {
      pg::read_next_object(
          *state_.store, pg, after,
          [promise](const Status& status, std::optional<pg::WholeObject> object) {
            if (!status) return promise.reject(status);
            promise.resolve([object = std::move(object)](Napi::Env env) -> Napi::Value {
              if (!object) return env.Null();
              Napi::Object value = Napi::Object::New(env);
              value.Set("name", object->name);
              value.Set("description", bytes_value(env, object->description));
              value.Set("data", bytes_value(env, object->data));
              value.Set("badBlocks", object->bad_blocks);
              return value;
            });
          });
    });
  }

  Napi::Value get_meta(const Napi::CallbackInfo& info) {
    return ask(info,
               [this, key = info[0].ToString().Utf8Value()](pg::OsdCore&, const Promise& promise) {
                 Result<std::optional<std::string>> found = state_.store->store_meta(key);
                 if (!found) return promise.reject(found.status());
                 promise.resolve([value = std::move(*found)](Napi::Env env) -> Napi::Value {
                   if (!value) return env.Null();
                   return Napi::String::New(env, *value);
                 });
               });
  }
  Napi::Value set_meta(const Napi::CallbackInfo& info) {
    return ask(info,
               [this, key = info[0].ToString().Utf8Value(), value = info[1].ToString().Utf8Value()](
                   pg::OsdCore&, const Promise& promise) {
                 object_store::Transaction transaction;
                 transaction.store_meta_set(key, value);
                 state_.store->submit(std::move(transaction),
                                      [promise](Status status) { promise.settle(status); });
               });
  }

  Napi::Value stats(const Napi::CallbackInfo& info) {
    return ask(info, [this](pg::OsdCore& core, const Promise& promise) {
      promise.resolve([figures = std::make_shared<OsdFigures>(OsdFigures{
                           core.counters(), state_.store->counters(), state_.store->usage(),
                           state_.messenger->counters(), core.oldest_operation_ns(),
                           core.round_trips(), core.reservation_counters()})](Napi::Env env) {
        return osd_stats_value(env, *figures);
      });
    });
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    const Promise promise(info.Env(), *host_);
    Ref();
    host_->post([this, promise] {
      if (state_.core != nullptr) state_.core->detach();
      state_.messenger.reset();
      if (state_.store == nullptr) return closed(promise, Status::ok());
      state_.store->close([this, promise](Status status) {
        // Not inside the store's own callback.
        host_->post([this, promise, status] { closed(promise, status); });
      });
    });
    return promise.value();
  }
  void closed(const Promise& promise, const Status& status) {
    drop_store();
    promise.settle(status);
    host_->to_js([this](Napi::Env) {
      host_->stop_and_join();
      Unref();
    });
  }

  // The process has died: nobody is told.
  void drop_state() {
    if (state_.core != nullptr) state_.core->detach();
    state_.messenger.reset();
    drop_store();
  }
  void drop_store() {
    state_.core.reset();
    state_.store.reset();
    state_.fault_disk.reset();
    state_.disk.reset();
  }

  net::ClusterId cluster_{};
  OsdId osd_ = kNoOsd;
  std::uint64_t incarnation_ = 0;
  std::optional<io::DiskFaults> disk_faults_;  // set: the store lies on a FaultDisk
  std::unique_ptr<OsdPlatform> platform_;
  CoreHost* host_ = nullptr;
  std::unique_ptr<EventSink> events_;
  OsdState state_;
};

}  // namespace

Napi::Function define_osd(Napi::Env env) { return Osd::define(env); }

}  // namespace cairn::binding
