// UringDisk on a block device: a loop device over a file in the current directory. It takes root;
// without it the test says that it did not run.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "io/uring_disk.hh"
#include "io/uring_test_support.hh"

namespace cairn::io {

namespace {

// A loop device with a volatile cache, as the kernel gives it; path empty: not permitted here.
class LoopDevice {
 public:
  explicit LoopDevice(std::uint64_t size_bytes) {
    const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) return;
    file_ = ::open(kFile, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(file_ >= 0);
    REQUIRE(::ftruncate(file_, static_cast<off_t>(size_bytes)) == 0);
    // Another process may take the free one first.
    for (int attempt = 0; attempt < 10 && path.empty(); ++attempt) attach(control);
    ::close(control);
  }
  ~LoopDevice() {
    if (device_ >= 0) {
      ::ioctl(device_, LOOP_CLR_FD, 0);
      ::close(device_);
    }
    if (file_ >= 0) ::close(file_);
    ::unlink(kFile);
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;

  // Flushes that the device has done. Source: Linux, Documentation/block/stat.rst.
  std::uint64_t flushes() const {
    std::ifstream stat("/sys/block/" + name_ + "/stat");
    std::vector<std::uint64_t> fields;
    for (std::uint64_t field; stat >> field;) fields.push_back(field);
    REQUIRE(fields.size() >= 17);
    return fields[15];
  }

  std::string path;

 private:
  static constexpr const char* kFile = "block_device_test.file";

  void attach(int control) {
    const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0) return;
    const std::string name = "loop" + std::to_string(number);
    const int device = ::open(("/dev/" + name).c_str(), O_RDWR | O_CLOEXEC);
    if (device < 0) return;
    if (::ioctl(device, LOOP_SET_FD, file_) != 0) {
      ::close(device);
      return;
    }
    device_ = device;
    name_ = name;
    path = "/dev/" + name;
  }

  int file_ = -1;
  int device_ = -1;
  std::string name_;
};

}  // namespace

TEST_CASE("a durable write to a block device has been flushed, whatever its length") {
  LoopDevice device(8 * kMiB);
  if (device.path.empty()) {
    MESSAGE("not run: a loop device takes root and /dev/loop-control");
    return;
  }
  auto reactor = make_reactor();
  auto opened = UringDisk::open(*reactor, device.path, {});
  REQUIRE_MESSAGE(opened.is_ok(), opened.status().to_string());
  UringDisk& disk = **opened;
  CHECK(disk.size_bytes() == 8 * kMiB);
  CHECK(disk.is_direct());
  int value = 1;
  for (const std::uint64_t length : {std::uint64_t{4096}, std::uint64_t{65536}, kMiB}) {
    CAPTURE(length);
    for (const bool durable : {false, true}) {
      const std::uint64_t before = device.flushes();
      Buffer data = Buffer::allocate(length);
      std::memset(data.data(), ++value, length);
      const Status written = wait_for(
          *reactor, [&](DiskDone done) { disk.write(4096, {data}, durable, std::move(done)); });
      CHECK_MESSAGE(written.is_ok(), written.to_string());
      CHECK(device.flushes() == before + (durable ? 1 : 0));
      Buffer found = Buffer::zeroed(length);
      CHECK(wait_for(*reactor, [&](DiskDone done) { disk.read(4096, found, std::move(done)); }));
      CHECK(std::memcmp(found.data(), data.data(), length) == 0);
    }
  }
}

}  // namespace cairn::io
