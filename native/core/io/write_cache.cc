// What sysfs says of write caches.
#include "io/write_cache.hh"

#include <sys/sysmacros.h>

#include <fstream>

namespace cairn::io {

namespace {

std::string line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

bool device_writes_through(dev_t device, const std::string& sysfs) {
  const std::string folder =
      sysfs + "/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
  // A partition has no queue; its folder lies in that of its disk.
  for (const char* queue : {"/queue/", "/../queue/"}) {
    const std::string cache = line_of(folder + queue + "write_cache");
    if (cache.empty()) continue;
    return cache == "write through" || line_of(folder + queue + "fua") == "1";
  }
  return false;
}

}  // namespace cairn::io
