// Plain I/O of a device: see device_io.hh.
#include "device_io.hh"

#include <utility>

#include "convert.hh"

namespace cairn::binding {

DeviceIo get_device_io(const Napi::CallbackInfo& info, DeviceIo::Kind kind) {
  DeviceIo request;
  request.kind = kind;
  if (kind == DeviceIo::Kind::flush) return request;
  request.offset = static_cast<std::uint64_t>(info[1].ToNumber().Int64Value());
  if (kind == DeviceIo::Kind::write) {
    const auto bytes = info[2].As<Napi::Uint8Array>();
    request.data = Buffer::copy_of(as_bytes(
        std::string_view(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength())));
    return request;
  }
  request.length_bytes = static_cast<std::uint64_t>(info[2].ToNumber().Int64Value());
  if (kind == DeviceIo::Kind::write_zeroes) request.may_unmap = info[3].ToBoolean().Value();
  return request;
}

void start_device_io(DeviceIo request, image::BlockDevice& device, const Promise& promise) {
  auto settle = [promise](const Status& status) { promise.settle(status); };
  switch (request.kind) {
    case DeviceIo::Kind::read:
      return device.read(
          request.offset, request.length_bytes, [promise](Status status, Buffer data) {
            if (!status) return promise.reject(status);
            promise.resolve(
                [data = std::move(data)](Napi::Env env) { return bytes_value(env, data.span()); });
          });
    case DeviceIo::Kind::write:
      return device.write(request.offset, std::move(request.data), settle);
    case DeviceIo::Kind::write_zeroes:
      return device.write_zeroes(request.offset, request.length_bytes, request.may_unmap, settle);
    case DeviceIo::Kind::flush:
      return device.flush(settle);
  }
}

}  // namespace cairn::binding
