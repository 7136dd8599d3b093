// Joining, cutting and refusing of extents; and the decompressors on good and damaged clusters.
#include "qcow2/piece_builder.hh"

#include <doctest/doctest.h>
#include <zlib.h>
#include <zstd.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

namespace cairn::qcow2 {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

SourceExtent data(std::uint64_t guest, std::uint64_t length, std::uint64_t host) {
  SourceExtent extent;
  extent.guest_offset = guest;
  extent.length_bytes = length;
  extent.host_offset = host;
  return extent;
}
SourceExtent zeros(std::uint64_t guest, std::uint64_t length) {
  SourceExtent extent = data(guest, length, 0);
  extent.kind = SourceKind::zero;
  return extent;
}
SourceExtent compressed(std::uint64_t guest, std::uint32_t cluster) {
  SourceExtent extent = data(guest, cluster, 77);
  extent.kind = SourceKind::zlib;
  extent.compressed_bytes = 512;
  extent.cluster_bytes = cluster;
  return extent;
}

std::vector<Piece> pieces(PieceBuilder& builder, const std::vector<SourceExtent>& extents) {
  REQUIRE(builder.add(extents).is_ok());
  std::vector<Piece> all;
  while (std::optional<Piece> piece = builder.next()) all.push_back(*piece);
  return all;
}

std::vector<std::byte> deflate_raw(ByteSpan from) {
  std::vector<std::byte> out(compressBound(from.size()) + 64);
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}
std::vector<std::byte> compress_zstd(ByteSpan from) {
  std::vector<std::byte> out(ZSTD_compressBound(from.size()));
  out.resize(ZSTD_compress(out.data(), out.size(), from.data(), from.size(), 3));
  return out;
}

}  // namespace

TEST_CASE("pieces: neighbours join, windows cut") {
  PieceBuilder builder(64 * kMiB, 1, true);
  const auto all = pieces(
      builder, {data(0, 65536, 1000), data(65536, 65536, 500), data(131072, 3 * kMiB, 900000)});
  REQUIRE(all.size() == 4);
  CHECK(all[0].segments.size() == 3);
  CHECK(all[0].length_bytes == kMiB);
  CHECK(all[0].covered_bytes() == kMiB);
  CHECK(all[0].segments[1].piece_offset == 65536);
  CHECK(all[1].guest_offset == kMiB);
  CHECK(all[1].segments[0].host_offset == 900000 + kMiB - 131072);
  CHECK(all[3].guest_offset + all[3].length_bytes == 3 * kMiB + 131072);
}

TEST_CASE("pieces: gaps are bridged on a blank target only") {
  const std::vector<SourceExtent> extents = {data(0, 512, 0), data(4096, 512, 512),
                                             zeros(8192, 4096), data(12288, 512, 1024)};
  PieceBuilder blank(kMiB, 1, true);
  auto all = pieces(blank, extents);
  REQUIRE(all.size() == 1);
  CHECK(all[0].length_bytes == 12800);
  CHECK(all[0].covered_bytes() == 3 * 512);
  CHECK(all[0].handled_bytes == 3 * 512 + 4096);

  PieceBuilder used(kMiB, 1, false);
  all = pieces(used, extents);
  REQUIRE(all.size() == 4);
  CHECK(all[2].zero);
  CHECK(all[2].length_bytes == 4096);
}

TEST_CASE("pieces: zeros alone give progress, or pieces of their own") {
  PieceBuilder blank(1024 * kMiB, 1, true);
  auto all = pieces(blank, {zeros(0, 1024 * kMiB)});
  REQUIRE(all.size() == 1);
  CHECK(all[0].length_bytes == 0);
  CHECK(all[0].handled_bytes == 1024 * kMiB);

  PieceBuilder used(1024 * kMiB, 1, false);
  all = pieces(used, {zeros(kMiB, 129 * kMiB)});
  REQUIRE(all.size() == 3);
  CHECK(all[0].length_bytes == 63 * kMiB);
  CHECK(all[2].length_bytes == 2 * kMiB);
}

TEST_CASE("pieces: a compressed cluster of 2 MiB is cut into parts of itself") {
  PieceBuilder builder(4 * kMiB, 1, true);
  const auto all = pieces(builder, {compressed(0, 2 * kMiB)});
  REQUIRE(all.size() == 2);
  CHECK(all[1].segments[0].cluster_offset == kMiB);
  CHECK(all[1].segments[0].host_offset == 77);
  CHECK(all[1].memory_bytes() == 3 * kMiB + 512);
}

TEST_CASE("pieces: extents that do not fit are refused, all of their batch") {
  PieceBuilder builder(kMiB, 1, true);
  const auto refused = [&](const SourceExtent& extent) {
    const SourceExtent batch[] = {data(0, 512, 0), extent};
    const bool invalid = builder.add(batch).code() == ErrorCode::invalid_argument;
    CHECK(builder.queued_extents() == 0);
    return invalid;
  };
  CHECK(refused(data(0, 512, 0)));              // overlaps
  CHECK(refused(data(1024, 0, 0)));             // empty
  CHECK(refused(data(kMiB - 511, 512, 0)));     // behind the device
  CHECK(refused(data(~0ULL, 512, 0)));          // wraps
  CHECK(refused(data(1024, 512, ~0ULL >> 1)));  // host offset overflows
  SourceExtent extent = data(1024, 512, 0);
  extent.source = 1;
  CHECK(refused(extent));
  extent = compressed(65536, 65536);
  extent.cluster_offset = 1;
  CHECK(refused(extent));
  extent = compressed(65536, 65536);
  extent.compressed_bytes = kMaxCompressedBytes + 1;
  CHECK(refused(extent));
  extent = compressed(65536, 65536);
  extent.kind = static_cast<SourceKind>(4);
  CHECK(refused(extent));
}

TEST_CASE("decompress: both types, with bytes behind the stream, and a stream that goes on") {
  std::mt19937_64 random(1);
  std::vector<std::byte> cluster(65536);
  for (std::byte& byte : cluster) byte = static_cast<std::byte>(random() % 17);
  Decompressor decompressor;
  for (const Compression type : {Compression::zlib, Compression::zstd}) {
    auto packed = type == Compression::zlib ? deflate_raw(cluster) : compress_zstd(cluster);
    const std::size_t length = packed.size();
    packed.resize(length + 511, std::byte{0xa5});
    std::vector<std::byte> out(cluster.size());
    for (int again = 0; again < 2; ++again) {
      REQUIRE(decompressor.decompress(type, packed, out).is_ok());
      CHECK(out == cluster);
    }
    std::vector<std::byte> part(4096);
    REQUIRE(decompressor.decompress(type, packed, part).is_ok());
    CHECK(std::memcmp(part.data(), cluster.data(), part.size()) == 0);

    const ByteSpan early = ByteSpan(packed).first(length / 2);
    CHECK(decompressor.decompress(type, early, out).code() == ErrorCode::corrupt);
    CHECK(decompressor.decompress(type, {}, out).code() == ErrorCode::corrupt);
    std::vector<std::byte> more(cluster.size() + 1);
    CHECK(decompressor.decompress(type, ByteSpan(packed).first(length), more).code() ==
          ErrorCode::corrupt);
    // After an error the next cluster is fine.
    CHECK(decompressor.decompress(type, packed, out).is_ok());
  }
  CHECK(decompressor.decompress(static_cast<Compression>(2), cluster, cluster).code() ==
        ErrorCode::unsupported_feature);
}

// test/golden/qcow2: what QEMU compressed. The L1 table is at 0x3000 in images this small.
TEST_CASE("decompress: the clusters of QEMU's images, both types with the same content") {
  std::vector<std::byte> disks[2];
  for (const Compression type : {Compression::zlib, Compression::zstd}) {
    const std::string name = type == Compression::zlib ? "zlib" : "zstd";
    std::ifstream stream(CAIRN_GOLDEN_DIR "/qcow2/" + name + ".qcow2", std::ios::binary);
    const std::string file{std::istreambuf_iterator<char>(stream), {}};
    const ByteSpan bytes = as_bytes(file);
    REQUIRE(bytes.size() > 0x4000);
    const auto offset_of = [&](std::uint64_t at) {
      return load_be<std::uint64_t>(bytes.data() + at) & 0x00fffffffffffe00;
    };
    std::vector<std::byte>& disk = disks[static_cast<std::size_t>(type)];
    disk.resize(65536);
    Decompressor decompressor;
    int clusters = 0;
    for (std::size_t index = 0; index < 16; ++index) {
      const auto entry = load_be<std::uint64_t>(bytes.data() + offset_of(0x3000) + index * 8);
      if ((entry >> 62 & 1) == 0) continue;
      // Clusters of 4 KiB: 4 bits of sectors, 58 of offset.
      const std::uint64_t host = entry & ((std::uint64_t{1} << 58) - 1);
      const std::uint64_t length = ((entry >> 58 & 15) + 1) * 512 - host % 512;
      REQUIRE(host + length <= bytes.size());
      const auto into = MutableByteSpan(disk).subspan(index * 4096, 4096);
      CHECK(decompressor.decompress(type, bytes.subspan(host, length), into).is_ok());
      ++clusters;
    }
    CHECK(clusters == 9);
  }
  CHECK(disks[0] == disks[1]);
  CHECK(disks[0][50050] == std::byte{'x'});
}

}  // namespace cairn::qcow2
