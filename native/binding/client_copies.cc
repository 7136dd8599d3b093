// Tasks of import and export: see client_copies.hh.
#include "client_copies.hh"

#include <utility>

#include "client_values.hh"

namespace cairn::binding {

namespace {

std::uint32_t first_number(const Napi::CallbackInfo& info) {
  return info[0].ToNumber().Uint32Value();
}

// start(state, device, promise), for an open device.
template <typename Start>
ClientQuestion on_device(std::uint32_t handle, Start start) {
  return [handle, start = std::move(start)](ClientState& state, const Promise& promise) {
    image::BlockDevice* const device = state.device(handle);
    if (device == nullptr)
      return promise.reject(Status(ErrorCode::not_found, "the device is closed"));
    start(state, *device, promise);
  };
}

}  // namespace

std::function<void(std::uint64_t)> get_copy_progress(const Napi::Value& value, CoreThread& thread) {
  return [&thread, callback = thread.hold(value)](std::uint64_t done_bytes) {
    thread.to_js([callback, done_bytes](Napi::Env env) {
      callback->Call({Napi::Number::New(env, static_cast<double>(done_bytes))});
    });
  };
}

BytesDone copy_answer(const Promise& promise) {
  return [promise](const Result<std::uint64_t>& done_bytes) {
    if (!done_bytes) return promise.reject(done_bytes.status());
    promise.resolve([bytes = done_bytes.value()](Napi::Env env) -> Napi::Value {
      Napi::Object object = Napi::Object::New(env);
      object.Set("doneBytes", static_cast<double>(bytes));
      return object;
    });
  };
}

ClientTask import_begin_task(const Napi::CallbackInfo& info, std::uint32_t job) {
  const auto array = info[1].As<Napi::Array>();
  std::vector<int> fds;
  for (std::uint32_t i = 0; i < array.Length(); ++i)
    fds.push_back(array.Get(i).ToNumber().Int32Value());
  return [handle = first_number(info), job, fds](ClientState& state) {
    state.import_begin(handle, job, fds);
  };
}

ClientQuestion import_extents_task(const Napi::CallbackInfo& info) {
  const auto array = info[1].As<Napi::Array>();
  std::vector<qcow2::SourceExtent> extents;
  for (std::uint32_t i = 0; i < array.Length(); ++i)
    extents.push_back(get_extent(array.Get(i).As<Napi::Object>()));
  return [job = first_number(info), extents = std::move(extents)](ClientState& state,
                                                                  const Promise& promise) {
    state.import_extents(job, extents, copy_answer(promise));
  };
}

ClientQuestion import_end_task(const Napi::CallbackInfo& info) {
  return [job = first_number(info)](ClientState& state, const Promise& promise) {
    state.import_end(job, copy_answer(promise));
  };
}

ClientQuestion import_raw_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  return on_device(first_number(info),
                   [fd = info[1].ToNumber().Int32Value(),
                    size = static_cast<std::uint64_t>(info[2].ToNumber().Int64Value()),
                    progress = get_copy_progress(info[3], thread)](
                       ClientState& state, image::BlockDevice& device, const Promise& promise) {
                     state.import_raw(device, fd, size, progress, copy_answer(promise));
                   });
}

ClientQuestion import_stream_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  return on_device(
      first_number(info),
      [fd = info[1].ToNumber().Int32Value(), progress = get_copy_progress(info[2], thread)](
          ClientState& state, image::BlockDevice& device, const Promise& promise) {
        state.import_stream(device, fd, progress, copy_answer(promise));
      });
}

ClientQuestion export_to_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  return on_device(first_number(info),
                   [fd = info[1].ToNumber().Int32Value(), sparse = info[2].ToBoolean().Value(),
                    progress = get_copy_progress(info[3], thread)](
                       ClientState& state, image::BlockDevice& device, const Promise& promise) {
                     state.export_to(device, fd, sparse, progress, copy_answer(promise));
                   });
}

ClientTask cancel_job_task(const Napi::CallbackInfo& info) {
  return [job = first_number(info)](ClientState& state) { state.cancel_job(job); };
}

ClientTask cancel_copies_task(const Napi::CallbackInfo&) {
  return [](ClientState& state) { state.cancel_copies(); };
}

}  // namespace cairn::binding
