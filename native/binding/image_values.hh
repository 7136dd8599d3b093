// Shapes of images and their jobs in binding.d.ts: layouts, snap contexts, limits, statistics.
#pragma once

#include <napi.h>

#include <optional>

#include "convert.hh"
#include "device_table.hh"
#include "image/diff_job.hh"

namespace cairn::binding {

// {seq, snaps}; absent: the image has no snapshots.
net::SnapContext get_snap_context(const Napi::Value& value);
// {device, overlapBytes}; null or absent: none.
std::optional<ParentSpec> get_parent(const Napi::Value& value);
ImageSpec get_image_spec(const Napi::Object& object);
image::QosLimits get_qos(const Napi::Object& object);
// {path?, sizeBytes?}; absent: the environment and the defaults.
ParentCacheOptions get_parent_cache(const Napi::Value& value);
Napi::Value device_stats_value(Napi::Env env, const DeviceFigures& figures);
// A Float64Array of triples: offset, length, state.
Napi::Value extents_value(Napi::Env env, const std::vector<image::Extent>& extents);

}  // namespace cairn::binding
