// Diff streams of a NativeClient (native/binding-diffs.d.ts), as tasks for its core's thread.
#pragma once

#include <napi.h>

#include "client_locks.hh"
#include "core_thread.hh"

namespace cairn::binding {

ClientQuestion export_diff_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientQuestion open_diff_task(const Napi::CallbackInfo& info);
ClientQuestion next_diff_task(const Napi::CallbackInfo& info);
ClientQuestion import_diff_task(const Napi::CallbackInfo& info, CoreThread& thread);
ClientTask close_diff_task(const Napi::CallbackInfo& info);
ClientQuestion merge_diffs_task(const Napi::CallbackInfo& info, CoreThread& thread);

}  // namespace cairn::binding
