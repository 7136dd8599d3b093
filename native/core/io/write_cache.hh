// What the kernel says of the write cache of the block device below a file.
#pragma once

#include <sys/types.h>

#include <string>

namespace cairn::io {

// Whether a write can be durable without a flush of the device: the device has no volatile cache
// (a disk with power-loss protection says so), or writes through it when it is told to (FUA). False
// when that is not known. device: st_dev of a file, st_rdev of a block device.
// sysfs: the folder /sys, another one in tests. Source: Linux, Documentation/ABI/stable/sysfs-block
// (queue/write_cache, queue/fua).
bool device_writes_through(dev_t device, const std::string& sysfs = "/sys");

}  // namespace cairn::io
