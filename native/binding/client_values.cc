// Shapes of copy jobs: see client_values.hh.
#include "client_values.hh"

namespace cairn::binding {

qcow2::SourceExtent get_extent(const Napi::Object& object) {
  const auto small = [&object](const char* key) {
    return object.Has(key) ? static_cast<std::uint32_t>(get_u64(object, key)) : 0;
  };
  qcow2::SourceExtent extent;
  const std::string kind = get_text(object, "kind");
  extent.kind = kind == "data"   ? qcow2::SourceKind::data
                : kind == "zero" ? qcow2::SourceKind::zero
                : kind == "zlib" ? qcow2::SourceKind::zlib
                                 : qcow2::SourceKind::zstd;
  extent.source = small("source");
  extent.guest_offset = get_u64(object, "guestOffset");
  extent.length_bytes = get_u64(object, "lengthBytes");
  extent.host_offset = get_u64(object, "hostOffset");
  extent.compressed_bytes = small("compressedBytes");
  extent.cluster_bytes = small("clusterBytes");
  extent.cluster_offset = small("clusterOffset");
  return extent;
}

std::vector<BitmapSpec> get_bitmaps(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<BitmapSpec> bitmaps;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    const auto bitmap = array.Get(i).As<Napi::Object>();
    bitmaps.push_back({get_text(bitmap, "name"), get_u64(bitmap, "snap")});
  }
  return bitmaps;
}

NbdSpec get_nbd_spec(const Napi::Object& object) {
  NbdSpec spec;
  spec.export_name = get_text(object, "exportName");
  const Napi::Value unix_path = object.Get("unix");
  if (unix_path.IsString()) {
    spec.unix_path = unix_path.ToString().Utf8Value();
  } else {
    spec.tcp = get_address(object.Get("tcp"));
  }
  const Napi::Value bitmaps = object.Get("dirtyBitmaps");
  if (bitmaps.IsArray()) spec.bitmaps = get_bitmaps(bitmaps);
  return spec;
}

}  // namespace cairn::binding
