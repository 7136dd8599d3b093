// Tasks on images and their jobs: see client_images.hh.
#include "client_images.hh"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "client_values.hh"
#include "image/diff_job.hh"
#include "image/flatten_job.hh"
#include "image/provision_job.hh"
#include "image_values.hh"

namespace cairn::binding {

namespace {

constexpr std::uint64_t kProgressNs = 200'000'000;

using Progress = std::function<void(const image::JobProgress&)>;
using Callback = std::shared_ptr<Napi::FunctionReference>;

std::uint32_t handle_of(const Napi::CallbackInfo& info) { return info[0].ToNumber().Uint32Value(); }

// Duplicates: JavaScript may close its descriptors before the task has run. One that can't be
// duplicated is refused by the device.
std::shared_ptr<const std::vector<int>> get_descriptors(const Napi::Array& array) {
  auto* const fds = new std::vector<int>;
  for (std::uint32_t i = 0; i < array.Length(); ++i)
    fds->push_back(::fcntl(array.Get(i).ToNumber().Int32Value(), F_DUPFD_CLOEXEC, 0));
  return {fds, [](const std::vector<int>* held) {
            for (const int fd : *held) {
              if (fd >= 0) ::close(fd);
            }
            delete held;
          }};
}

// {chunkBytes, maxKeptBytes, fileBytes}; absent: the files are here.
std::optional<RemoteFiles> get_remote(const Napi::Value& value) {
  if (!value.IsObject()) return std::nullopt;
  const auto object = value.As<Napi::Object>();
  RemoteFiles remote{get_u64(object, "chunkBytes"), get_u64(object, "maxKeptBytes"), {}};
  const auto sizes = object.Get("fileBytes").As<Napi::Array>();
  for (std::uint32_t i = 0; i < sizes.Length(); ++i)
    remote.file_bytes.push_back(static_cast<std::uint64_t>(sizes.Get(i).ToNumber().Int64Value()));
  return remote;
}

// A JavaScript progress callback (done, total) as a function for the core's thread; may be absent.
Progress get_progress(const Napi::Value& value, CoreThread& thread) {
  if (!value.IsFunction()) return [](const image::JobProgress&) {};
  return [&thread, callback = thread.hold(value)](const image::JobProgress& progress) {
    thread.to_js([callback, progress](Napi::Env env) {
      callback->Call({Napi::Number::New(env, static_cast<double>(progress.done)),
                      Napi::Number::New(env, static_cast<double>(progress.total))});
    });
  };
}

// Reports while somebody else keeps the job.
void watch_progress(io::Reactor& reactor, const std::weak_ptr<image::ImageJob>& job,
                    Progress progress) {
  reactor.run_after(kProgressNs, [&reactor, job, progress = std::move(progress)]() mutable {
    const auto held = job.lock();
    if (held == nullptr) return;
    progress(held->progress());
    watch_progress(reactor, job, std::move(progress));
  });
}

// The image's objects, or nullptr and a rejection.
std::shared_ptr<image::ObjectIo> objects_of(ClientState& state, std::uint32_t handle,
                                            const Promise& promise) {
  image::Image* const image = state.devices().image(handle);
  if (image != nullptr) return image->objects();
  promise.reject(Status(ErrorCode::not_found, "the image is closed"));
  return nullptr;
}

// start(objects, done): begins a job that changes the image.
template <typename Start>
ClientQuestion change_task(std::uint32_t handle, Progress progress, Start start) {
  return
      [handle, progress = std::move(progress), start](ClientState& state, const Promise& promise) {
        const auto objects = objects_of(state, handle, promise);
        if (objects == nullptr) return;
        // Also the end is reported, however short the job was.
        auto running = std::make_shared<std::weak_ptr<image::ImageJob>>();
        const std::shared_ptr<image::ImageJob> job =
            start(objects, [promise, progress, running](const Status& status) {
              if (const auto ended = running->lock()) progress(ended->progress());
              promise.settle(status);
            });
        *running = job;
        state.devices().add_job(handle, job);
        watch_progress(state.reactor(), job, progress);
      };
}

using Next = std::function<void(const Status&)>;

// Says next() when the receiver, which may be asynchronous, is through.
void answer_next(Napi::Env env, const Napi::Value& result, const Next& next) {
  if (env.IsExceptionPending()) {
    const Napi::Error error = env.GetAndClearPendingException();
    return next({ErrorCode::canceled, "the receiver failed: " + error.Message()});
  }
  if (!result.IsPromise()) return next(Status::ok());
  const auto promise = result.As<Napi::Object>();
  const auto resolved =
      Napi::Function::New(env, [next](const Napi::CallbackInfo&) { next(Status::ok()); });
  const auto rejected = Napi::Function::New(env, [next](const Napi::CallbackInfo& info) {
    next({ErrorCode::canceled, "the receiver failed: " + info[0].ToString().Utf8Value()});
  });
  promise.Get("then").As<Napi::Function>().Call(promise, {resolved, rejected});
}

image::DiffJob::Receiver get_receiver(const Napi::Value& value, CoreThread& thread) {
  return [&thread, callback = thread.hold(value)](std::vector<image::Extent> batch, Next next) {
    thread.to_js(
        [&thread, callback, batch = std::move(batch), next = std::move(next)](Napi::Env env) {
          const Napi::Value result = callback->Call({extents_value(env, batch)});
          answer_next(env, result, [&thread, next](const Status& status) {
            thread.post([next, status] { next(status); });
          });
        });
  };
}

}  // namespace

ClientTask open_image_task(const Napi::CallbackInfo& info, std::uint32_t handle) {
  return [handle, spec = get_image_spec(info[0].As<Napi::Object>())](ClientState& state) {
    state.open_image(handle, spec);
  };
}

ClientTask open_source_task(const Napi::CallbackInfo& info, std::uint32_t handle) {
  const auto object = info[0].As<Napi::Object>();
  const auto array = object.Get("extents").As<Napi::Array>();
  std::vector<qcow2::SourceExtent> extents;
  for (std::uint32_t i = 0; i < array.Length(); ++i)
    extents.push_back(get_extent(array.Get(i).As<Napi::Object>()));
  return [handle, fds = get_descriptors(object.Get("fds").As<Napi::Array>()),
          extents = std::move(extents), size_bytes = get_u64(object, "sizeBytes"),
          remote = get_remote(object.Get("remote"))](ClientState& state) {
    state.open_source(handle, *fds, extents, size_bytes, remote);
  };
}

ClientTask source_fetched_task(const Napi::CallbackInfo& info) {
  const auto number = [&info](std::size_t index) {
    return static_cast<std::uint64_t>(info[index].ToNumber().Int64Value());
  };
  const Status status = info[4].IsString()
                            ? Status(ErrorCode::io_error, info[4].ToString().Utf8Value())
                            : Status::ok();
  return [handle = handle_of(info), source = static_cast<std::uint32_t>(number(1)),
          offset = number(2), length = number(3), status](ClientState& state) {
    state.source_fetched(handle, source, offset, length, status);
  };
}

ClientQuestion retarget_task(const Napi::CallbackInfo& info) {
  return [handle = handle_of(info), spec = get_image_spec(info[1].As<Napi::Object>())](
             ClientState& state, const Promise& promise) {
    promise.settle(state.devices().retarget(handle, spec.layout));
  };
}

ClientTask set_snap_context_task(const Napi::CallbackInfo& info) {
  return [handle = handle_of(info), context = get_snap_context(info[1])](ClientState& state) {
    if (image::Image* const image = state.devices().image(handle)) image->set_snap_context(context);
  };
}

ClientQuestion set_parent_task(const Napi::CallbackInfo& info) {
  return [handle = handle_of(info), parent = get_parent(info[1])](ClientState& state,
                                                                  const Promise& promise) {
    state.devices().set_parent(handle, parent,
                               [promise](const Status& status) { promise.settle(status); });
  };
}

ClientQuestion set_qos_task(const Napi::CallbackInfo& info) {
  const auto object = info[1].As<Napi::Object>();
  return [handle = handle_of(info), limits = get_qos(object), reserved = get_reserved_iops(object)](
             ClientState& state, const Promise& promise) {
    promise.settle(state.devices().set_qos(handle, limits, reserved));
  };
}

ClientQuestion device_stats_task(const Napi::CallbackInfo& info) {
  return [handle = handle_of(info)](ClientState& state, const Promise& promise) {
    Result<DeviceFigures> figures = state.devices().figures(handle);
    if (!figures) return promise.reject(figures.status());
    auto shared = std::make_shared<DeviceFigures>(std::move(*figures));
    promise.resolve([shared](Napi::Env env) { return device_stats_value(env, *shared); });
  };
}

ClientQuestion trace_device_task(const Napi::CallbackInfo& info) {
  const auto options = info[1].As<Napi::Object>();
  const std::uint64_t duration_ns = get_u64(options, "durationMs") * 1'000'000;
  const auto every = static_cast<std::uint32_t>(
      std::max<std::uint64_t>(1, std::min<std::uint64_t>(get_u64(options, "every"), 1'000'000)));
  return
      [handle = handle_of(info), duration_ns, every](ClientState& state, const Promise& promise) {
        auto front = state.devices().traceable(handle);
        if (!front) return promise.reject(front.status());
        const auto collector = std::make_shared<objecter::TraceCollector>(every);
        (*front)->trace(collector);
        const std::weak_ptr<image::MeteredDevice> device = *front;
        state.reactor().run_after(duration_ns, [device, collector, promise] {
          // Closed meanwhile: what there was counts.
          if (const auto held = device.lock()) held->end_trace(collector);
          promise.resolve([collector](Napi::Env env) { return trace_value(env, *collector); });
        });
      };
}

ClientTask cancel_jobs_task(const Napi::CallbackInfo& info) {
  return [handle = handle_of(info)](ClientState& state) { state.devices().cancel_jobs(handle); };
}

ClientQuestion diff_image_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  image::DiffSpec spec;
  spec.from_snap = static_cast<std::uint64_t>(info[1].ToNumber().Int64Value());
  if (info[3].IsObject()) {
    const Napi::Value whole = info[3].As<Napi::Object>().Get("wholeObject");
    spec.whole_object = whole.IsBoolean() && whole.ToBoolean().Value();
  }
  return [handle = handle_of(info), spec, receiver = get_receiver(info[2], thread)](
             ClientState& state, const Promise& promise) {
    const auto objects = objects_of(state, handle, promise);
    if (objects == nullptr) return;
    state.devices().add_job(
        handle, image::DiffJob::start(objects, spec, receiver,
                                      [promise](const Status& status) { promise.settle(status); }));
  };
}

ClientQuestion measure_image_task(const Napi::CallbackInfo& info, CoreThread&) {
  const auto from_snap = static_cast<std::uint64_t>(info[1].ToNumber().Int64Value());
  return [handle = handle_of(info), from_snap](ClientState& state, const Promise& promise) {
    const auto objects = objects_of(state, handle, promise);
    if (objects == nullptr) return;
    const auto answer = [promise](const Status& status, image::ImageUsage usage) {
      if (!status) return promise.reject(status);
      promise.resolve([usage](Napi::Env env) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("usedBytes", static_cast<double>(usage.used_bytes));
        object.Set("objects", static_cast<double>(usage.objects));
        return object;
      });
    };
    state.devices().add_job(handle, image::MeasureJob::start(objects, from_snap, answer));
  };
}

ClientQuestion rollback_image_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  const auto snap = static_cast<std::uint64_t>(info[1].ToNumber().Int64Value());
  return change_task(handle_of(info), get_progress(info[2], thread),
                     [snap](const std::shared_ptr<image::ObjectIo>& objects, auto done) {
                       return image::ChangeJob::rollback(objects, snap, std::move(done));
                     });
}

ClientQuestion flatten_image_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  image::FlattenScope scope;
  if (info[2].IsObject()) {
    const auto options = info[2].As<Napi::Object>();
    const auto snaps = options.Get("snaps").As<Napi::Array>();
    for (std::uint32_t i = 0; i < snaps.Length(); ++i) {
      scope.layers.push_back(static_cast<std::uint64_t>(snaps.Get(i).ToNumber().Int64Value()));
    }
    if (options.Get("head").ToBoolean().Value()) scope.layers.push_back(kHead);
    scope.from_bytes = static_cast<std::uint64_t>(options.Get("fromBytes").ToNumber().Int64Value());
    if (const Napi::Value ranges = options.Get("ranges"); ranges.IsTypedArray()) {
      const auto places = ranges.As<Napi::Float64Array>();
      for (std::size_t i = 0; i + 1 < places.ElementLength(); i += 2) {
        scope.ranges.emplace_back(static_cast<std::uint64_t>(places[i]),
                                  static_cast<std::uint64_t>(places[i + 1]));
      }
    }
    scope.copies_zeros = options.Get("zeros").ToBoolean().Value();
    scope.to_bytes = static_cast<std::uint64_t>(options.Get("toBytes").ToNumber().Int64Value());
  }
  return change_task(handle_of(info), get_progress(info[1], thread),
                     [scope](const std::shared_ptr<image::ObjectIo>& objects, auto done) {
                       return image::FlattenJob::start(objects, scope, std::move(done));
                     });
}

ClientQuestion provision_image_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  return change_task(handle_of(info), get_progress(info[1], thread),
                     [](const std::shared_ptr<image::ObjectIo>& objects, auto done) {
                       return image::ProvisionJob::start(objects, std::move(done));
                     });
}

ClientQuestion sparsify_image_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  const auto options = info[1].As<Napi::Object>();
  const image::SparsifySpec spec{get_u64(options, "unitBytes"), get_u64(options, "shownBytes")};
  return [handle = handle_of(info), spec, progress = get_progress(info[2], thread)](
             ClientState& state, const Promise& promise) {
    const auto objects = objects_of(state, handle, promise);
    if (objects == nullptr) return;
    const auto answer = [promise](const Status& status, std::uint64_t freed_bytes) {
      if (!status) return promise.reject(status);
      promise.resolve([freed_bytes](Napi::Env env) -> Napi::Value {
        return Napi::Number::New(env, static_cast<double>(freed_bytes));
      });
    };
    const auto job = image::SparsifyJob::start(objects, spec, answer);
    state.devices().add_job(handle, job);
    watch_progress(state.reactor(), job, progress);
  };
}

ClientQuestion remove_objects_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  const auto first_object = static_cast<std::uint64_t>(info[1].ToNumber().Int64Value());
  return change_task(handle_of(info), get_progress(info[2], thread),
                     [first_object](const std::shared_ptr<image::ObjectIo>& objects, auto done) {
                       return image::ChangeJob::remove(objects, first_object, std::move(done));
                     });
}

}  // namespace cairn::binding
