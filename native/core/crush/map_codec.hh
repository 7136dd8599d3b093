// The compiled form of a CRUSH map (docs/format/crush-map.md): what crush/compiled.ts writes and
// the native side reads. It carries what placement needs and no names.
#pragma once

#include "base/bytes.hh"
#include "base/status.hh"
#include "crush/map.hh"

namespace cairn::crush {

inline constexpr std::uint32_t kMapMagic = 0x50414d43;  // "CMAP"
inline constexpr std::uint32_t kMapVersion = 1;

// Decodes and checks a compiled map; allocates at most a small multiple of bytes.size(), except for
// the bucket index (4 MiB at most). Errors: corrupt (not a map, cut short, bytes left over, or a
// reference that leads nowhere), incompatible_version, too_large (see the limits in map.hh).
Result<Map> decode_map(ByteSpan bytes);

}  // namespace cairn::crush
