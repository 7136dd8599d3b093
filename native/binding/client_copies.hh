// Copies into and out of devices of a NativeClient, as tasks for its core's thread. The functions
// read JavaScript's arguments now; the tasks run there.
#pragma once

#include <napi.h>

#include <functional>

#include "client_locks.hh"
#include "core_thread.hh"

namespace cairn::binding {

// A JavaScript progress callback (doneBytes) as a function for the core's thread.
std::function<void(std::uint64_t)> get_copy_progress(const Napi::Value& value, CoreThread& thread);
// Of a copy: resolves with its progress.
BytesDone copy_answer(const Promise& promise);

ClientTask import_begin_task(const Napi::CallbackInfo& info, std::uint32_t job);
ClientQuestion import_extents_task(const Napi::CallbackInfo& info);
ClientQuestion import_end_task(const Napi::CallbackInfo& info);
ClientQuestion import_raw_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientQuestion import_stream_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientQuestion export_to_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientTask cancel_job_task(const Napi::CallbackInfo& info);
ClientTask cancel_copies_task(const Napi::CallbackInfo& info);

}  // namespace cairn::binding
