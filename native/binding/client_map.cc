// Reading of a NativeMap: see client_map.hh.
#include "client_map.hh"

#include "base/assert.hh"
#include "convert.hh"

namespace cairn::binding {

objecter::ClientMap get_client_map(const Napi::Object& object) {
  objecter::ClientMap map;
  map.epoch = static_cast<Epoch>(get_u64(object, "epoch"));
  map.paused = get_flag(object, "paused");
  const auto pools = object.Get("pools").As<Napi::Array>();
  for (std::uint32_t i = 0; i < pools.Length(); ++i) {
    const auto pool = pools.Get(i).As<Napi::Object>();
    objecter::ClientMap::Pool& entry = map.pools[static_cast<PoolId>(get_u64(pool, "id"))];
    entry.pg_num = static_cast<std::uint32_t>(get_u64(pool, "pgNum"));
    entry.size = static_cast<std::uint32_t>(get_u64(pool, "size"));
    const auto acting = pool.Get("acting").As<Napi::Int32Array>();
    entry.acting.assign(acting.Data(), acting.Data() + acting.ElementLength());
    CAIRN_ASSERT(entry.acting.size() == std::size_t{entry.pg_num} * entry.size);
  }
  const auto osds = object.Get("osds").As<Napi::Array>();
  for (std::uint32_t i = 0; i < osds.Length(); ++i) {
    const auto osd = osds.Get(i).As<Napi::Object>();
    map.osds[static_cast<OsdId>(get_u64(osd, "osd"))] = {get_address(osd.Get("address")),
                                                         get_bigint(osd, "incarnation")};
  }
  return map;
}

}  // namespace cairn::binding
