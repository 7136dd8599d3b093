// Images of a NativeClient, as tasks for its core's thread: snapshots, parents, limits, statistics,
// jobs. The functions read JavaScript's arguments now; the tasks run there.
#pragma once

#include <napi.h>

#include "client_locks.hh"
#include "core_thread.hh"

namespace cairn::binding {

ClientTask open_image_task(const Napi::CallbackInfo& info, std::uint32_t handle);
ClientTask open_source_task(const Napi::CallbackInfo& info, std::uint32_t handle);
ClientTask source_fetched_task(const Napi::CallbackInfo& info);
ClientQuestion retarget_task(const Napi::CallbackInfo& info);
ClientTask set_snap_context_task(const Napi::CallbackInfo& info);
ClientQuestion set_parent_task(const Napi::CallbackInfo& info);
ClientQuestion set_qos_task(const Napi::CallbackInfo& info);
ClientQuestion device_stats_task(const Napi::CallbackInfo& info);
ClientQuestion trace_device_task(const Napi::CallbackInfo& info);
ClientTask cancel_jobs_task(const Napi::CallbackInfo& info);

// Jobs; callbacks go back through the thread.
ClientQuestion diff_image_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientQuestion measure_image_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientQuestion rollback_image_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientQuestion flatten_image_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientQuestion provision_image_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientQuestion sparsify_image_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientQuestion remove_objects_task(const Napi::CallbackInfo& info, CoreThread& thread);

}  // namespace cairn::binding
