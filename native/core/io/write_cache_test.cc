// Devices as sysfs shows them: with and without a volatile cache, a partition, none.
#include "io/write_cache.hh"

#include <doctest/doctest.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace cairn::io {

namespace {

void put(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text << "\n";
}

}  // namespace

TEST_CASE("a device writes through when it has no volatile cache, or FUA") {
  const std::string sysfs = "write_cache_test.sysfs";
  std::filesystem::remove_all(sysfs);
  const std::string block = sysfs + "/dev/block/";
  put(block + "8:0/queue/write_cache", "write back");
  put(block + "8:0/queue/fua", "0");
  put(block + "8:16/queue/write_cache", "write through");
  put(block + "8:16/queue/fua", "0");
  put(block + "259:0/queue/write_cache", "write back");
  put(block + "259:0/queue/fua", "1");
  CHECK_FALSE(device_writes_through(makedev(8, 0), sysfs));
  CHECK(device_writes_through(makedev(8, 16), sysfs));
  CHECK(device_writes_through(makedev(259, 0), sysfs));
  // As sysfs has it: a link to the folder of the partition, inside that of the disk.
  put(sysfs + "/devices/sdb/queue/write_cache", "write through");
  std::filesystem::create_directories(sysfs + "/devices/sdb/sdb1");
  std::filesystem::create_directory_symlink("../../devices/sdb/sdb1", block + "8:17");
  CHECK(device_writes_through(makedev(8, 17), sysfs));
  // A file system of its own, such as tmpfs or btrfs.
  CHECK_FALSE(device_writes_through(makedev(0, 40), sysfs));
  std::filesystem::remove_all(sysfs);
}

}  // namespace cairn::io
