// Devices, exports and jobs of a NativeClient: see client_state.hh.
#include "client_state.hh"

#include <utility>

#include "image/gather.hh"
#include "nbd/nbd_server.hh"
#include "vhost_user/server.hh"
#include "virtio/block_backend.hh"

namespace cairn::binding {

// One of the two servers, with what it needs.
struct ClientState::Export {
  std::unique_ptr<virtio::BlockBackend> backend;
  std::unique_ptr<vhost_user::Server> vhost_user;
  std::unique_ptr<nbd::NbdServer> nbd;
};

ClientState::ClientState(io::Reactor& reactor, const net::ClusterId& cluster, ClientId id,
                         ClientHooks hooks)
    : reactor_(reactor), hooks_(std::move(hooks)) {
  objecter_ = std::make_unique<objecter::Objecter>(reactor, id, hooks_.need_map);
  net::TcpConfig config;
  config.cluster = cluster;
  config.self = {net::EntityKind::client, id, id};
  config.log = hooks_.log;
  messenger_ = std::make_unique<net::TcpMessenger>(reactor, *objecter_, std::move(config));
  objecter_->attach(*messenger_);
}

ClientState::~ClientState() {
  // Jobs and exports call devices, devices the objecter, the objecter the messenger.
  objecter_->cancel_all(Status(ErrorCode::canceled, "the client is closing"));
  jobs_.clear();
  exports_.clear();
  devices_.clear();
  messenger_.reset();
  objecter_.reset();
}

void ClientState::open_image(std::uint32_t handle, const image::ImageLayout& layout) {
  devices_[handle] = std::make_unique<image::Image>(reactor_, *objecter_, layout);
}

void ClientState::open_device(std::uint32_t handle, std::unique_ptr<image::BlockDevice> device) {
  devices_[handle] = std::move(device);
}

image::BlockDevice* ClientState::device(std::uint32_t handle) {
  const auto found = devices_.find(handle);
  return found == devices_.end() ? nullptr : found->second.get();
}

void ClientState::set_image_size(std::uint32_t handle, std::uint64_t size_bytes) {
  if (auto* image = dynamic_cast<image::Image*>(device(handle))) image->set_size(size_bytes);
}

void ClientState::close_device(std::uint32_t handle) { devices_.erase(handle); }

Result<std::uint32_t> ClientState::serve_vhost_user(image::BlockDevice& device,
                                                    const std::string& socket, std::uint16_t queues,
                                                    const std::string& serial) {
  if (queues == 0 || queues > virtio::BlockBackend::kMaxQueues) {
    return Status(ErrorCode::invalid_argument, "the number of queues must be 1 to 64");
  }
  auto entry = std::make_unique<Export>();
  entry->backend = std::make_unique<virtio::BlockBackend>(
      device, reactor_, virtio::BlockBackend::Options{queues, serial}, hooks_.log);
  auto server = vhost_user::Server::listen(reactor_, *entry->backend, socket, hooks_.log);
  if (!server) return server.status();
  entry->vhost_user = std::move(*server);
  exports_[next_export_] = std::move(entry);
  return next_export_++;
}

Result<std::uint32_t> ClientState::serve_nbd(image::BlockDevice& device,
                                             const std::string& export_name,
                                             const std::string& unix_path,
                                             const net::Address& tcp) {
  nbd::ServerOptions options;
  options.unix_path = unix_path;
  options.tcp = tcp;
  options.export_name = export_name;
  options.read_only = device.read_only();
  auto server = nbd::NbdServer::listen(reactor_, device, std::move(options), hooks_.log);
  if (!server) return server.status();
  auto entry = std::make_unique<Export>();
  entry->nbd = std::move(*server);
  exports_[next_export_] = std::move(entry);
  return next_export_++;
}

void ClientState::stop_export(std::uint32_t handle, UniqueFunction<void(Status)> done) {
  const auto found = exports_.find(handle);
  if (found == exports_.end()) return done(Status(ErrorCode::not_found, "no such export"));
  auto closed = [this, handle, done = std::move(done)]() mutable {
    // Not inside the server's own callback.
    reactor_.post([this, handle, done = std::move(done)]() mutable {
      exports_.erase(handle);
      done(Status::ok());
    });
  };
  if (found->second->nbd != nullptr) return found->second->nbd->close(std::move(closed));
  found->second->vhost_user->close(std::move(closed));
}

}  // namespace cairn::binding
