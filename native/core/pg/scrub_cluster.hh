// ScrubCluster: OSDs with objects whose blocks can be damaged on the disks, for the tests of scrub
// and of reads that meet damage.
#pragma once

#include <cstring>
#include <string>

#include "pg/sim_osds.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

constexpr std::uint32_t kObjectBlocks = 80;  // more than one piece of a verification

// A block whose first bytes name it, so that it can be found on a disk.
inline void fill_block(std::byte* into, const std::string& object, std::uint32_t index, int round) {
  const std::string mark = object + "/" + std::to_string(index) + "/" + std::to_string(round) + ";";
  for (std::size_t i = 0; i < kBlockBytes; ++i) {
    into[i] = static_cast<std::byte>(mark[i % mark.size()]);
  }
}

inline Buffer content_of(const std::string& object, std::uint32_t first, std::uint32_t count,
                         int round) {
  Buffer data = Buffer::allocate(count * kBlockBytes);
  for (std::uint32_t i = 0; i < count; ++i) {
    fill_block(data.data() + i * kBlockBytes, object, first + i, round);
  }
  return data;
}

inline Step write_step(std::uint32_t first, std::uint32_t count) {
  return {StepCode::write, first * kBlockBytes, count * kBlockBytes, {}, {}};
}

struct ScrubCluster : SimOsds {
  explicit ScrubCluster(std::uint64_t seed, int objects = 20) : SimOsds(seed) {
    new_interval({0, 1, 2});
    for (int i = 0; i < objects; ++i) {
      const std::string object = name(i);
      write(object, 0, kObjectBlocks, 0);
      operate(object, {{StepCode::omap_set, 0, 0, "key", object}}, {});
    }
    settle();
  }

  static std::string name(int i) { return "object" + std::to_string(100 + i); }

  void write(const std::string& object, std::uint32_t first, std::uint32_t count, int round) {
    operate(object, {write_step(first, count)}, content_of(object, first, count, round));
  }

  // Everything written is in its place on the disks.
  void settle() {
    for (auto& [id, osd] : osds) {
      if (osd->store == nullptr) continue;
      bool done = false;
      osd->store->checkpoint([&done](const Status& status) {
        CHECK(status.to_string() == "ok");
        done = true;
      });
      run_until([&done] { return done; });
    }
  }

  // Flips a bit of a block on one member's disk.
  void damage(OsdId osd, const std::string& object, std::uint32_t index, int round = 0) {
    std::byte wanted[kBlockBytes];
    fill_block(wanted, object, index, round);
    const io::SimDiskImage image = osds[osd]->disk->image();
    std::byte page[kBlockBytes];
    int found = 0;
    for (std::uint64_t at = 0; at < image.size_bytes(); at += kBlockBytes) {
      image.read(at, page);
      if (std::memcmp(page, wanted, kBlockBytes) != 0) continue;
      osds[osd]->disk->flip_bit(at + 7 * index % kBlockBytes, index % 8);
      ++found;
    }
    REQUIRE(found >= 1);
  }

  // All OSDs begin anew, with nothing in memory.
  void restart_all() {
    for (OsdId osd = 0; osd < 3; ++osd) kill(osd);
    for (OsdId osd = 0; osd < 3; ++osd) restart(osd);
    new_interval({0, 1, 2});
  }

  // A change of one member's store behind the back of its PG.
  void edit(OsdId osd, object_store::Transaction transaction) {
    bool done = false;
    osds[osd]->store->submit(std::move(transaction), [&done](const Status& status) {
      CHECK(status.to_string() == "ok");
      done = true;
    });
    run_until([&done] { return done; });
  }

  ScrubLog scrub(ScrubSpec spec) {
    SimOsd& primary = *osds[0];
    primary.scrubs = {};
    primary.core->start_scrub(kTestPg, epoch, std::move(spec));
    run_until([&primary] { return primary.scrubs.ended > 0; });
    for (auto& [id, osd] : osds) {
      if (osd->core != nullptr) osd->core->set_scrub_record(kTestPg, epoch, "record");
    }
    executor.run_for(1'000'000);
    return primary.scrubs;
  }
  ScrubLog light() { return scrub({.id = 1}); }
  ScrubLog deep() { return scrub({.id = 2, .deep = true}); }
  ScrubLog repair() { return scrub({.id = 3, .deep = true, .repair = true}); }

  void check_copies(int objects) {
    for (int i = 0; i < objects; ++i) {
      const std::string expected = digest(0, name(i));
      CHECK(digest(1, name(i)) == expected);
      CHECK(digest(2, name(i)) == expected);
    }
  }

  std::string read(const std::string& object, std::uint32_t index, Buffer& data) {
    Status status;
    operate(object, {{StepCode::read, index * kBlockBytes, kBlockBytes, {}, {}}}, {}, &status,
            &data);
    return status.to_string();
  }
  void check_read(const std::string& object, std::uint32_t index, int round = 0) {
    Buffer data;
    REQUIRE(read(object, index, data) == "ok");
    std::byte wanted[kBlockBytes];
    fill_block(wanted, object, index, round);
    CHECK(std::memcmp(data.data(), wanted, kBlockBytes) == 0);
  }
};

}  // namespace cairn::pg
