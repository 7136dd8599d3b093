// SimClient of binding.d.ts: an objecter in a simulated world, with blocks of 4 KiB that each hold
// one number, so that no payload crosses to JavaScript.
#include <cstring>
#include <utility>

#include "binding_promise.hh"
#include "client_map.hh"
#include "convert.hh"
#include "exports.hh"
#include "net/sim_messenger.hh"
#include "sim_world.hh"

namespace cairn::binding {

namespace {

constexpr std::size_t kWords = kBlockBytes / sizeof(std::uint64_t);
// What read() answers for a block whose words differ: no client has written such a one.
constexpr double kTornValue = -1;

Buffer block_of(std::uint64_t value) {
  Buffer block = Buffer::allocate(kBlockBytes);
  for (std::size_t i = 0; i < kWords; ++i) {
    std::memcpy(block.data() + i * sizeof value, &value, sizeof value);
  }
  return block;
}

// Of an operation's last argument; absent: under no lock.
net::Fence get_fence(const Napi::Value& value) {
  if (!value.IsObject()) return {};
  const auto object = value.As<Napi::Object>();
  return {get_text(object, "key"), get_u64(object, "token")};
}

// Absent: no snapshot was ever taken.
net::SnapContext get_context(const Napi::Value& value) {
  net::SnapContext context;
  if (!value.IsObject()) return context;
  const auto object = value.As<Napi::Object>();
  context.seq = get_u64(object, "seq");
  const auto snaps = object.Get("snaps").As<Napi::Array>();
  for (std::uint32_t i = 0; i < snaps.Length(); ++i) {
    context.snaps.push_back(static_cast<std::uint64_t>(snaps.Get(i).ToNumber().Int64Value()));
  }
  return context;
}

std::uint64_t get_snap(const Napi::Value& value) {
  return value.IsNumber() ? static_cast<std::uint64_t>(value.ToNumber().Int64Value()) : kHead;
}

double value_of(const Buffer& block) {
  if (block.size() == 0) return 0;
  if (block.size() != kBlockBytes) return kTornValue;
  std::uint64_t first = 0;
  std::memcpy(&first, block.data(), sizeof first);
  for (std::size_t i = 1; i < kWords; ++i) {
    if (std::memcmp(block.data() + i * sizeof first, &first, sizeof first) != 0) return kTornValue;
  }
  return static_cast<double>(first);
}

class Client : public Napi::ObjectWrap<Client> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "SimClient",
        {InstanceMethod<&Client::set_map>("setMap"), InstanceMethod<&Client::write>("write"),
         InstanceMethod<&Client::read>("read"), InstanceMethod<&Client::remove>("remove"),
         InstanceMethod<&Client::counters>("counters"), InstanceMethod<&Client::close>("close")});
  }

  explicit Client(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Client>(info) {
    const auto options = info[0].As<Napi::Object>();
    world_ = get_sim_world(options.Get("world"));
    const int drift_ppm = options.Get("clockDriftPpm").ToNumber().Int32Value();
    host_ = std::make_unique<SimHost>(world_->executor, drift_ppm, world_->js_tasks,
                                      world_->random.fork());
    on_need_map_ = std::make_shared<Napi::FunctionReference>(
        Napi::Persistent(options.Get("onNeedMap").As<Napi::Function>()));
    const ClientId id = get_bigint(options, "clientId");
    objecter_ = std::make_unique<objecter::Objecter>(host_->executor(), id,
                                                     [this](Epoch epoch) { need_map(epoch); });
    net::SimMessengerConfig config;
    config.host = get_text(options, "host");
    config.cluster = get_uuid(options, "clusterId");
    config.self = {net::EntityKind::client, id, id};
    messenger_ = std::make_unique<net::SimMessenger>(world_->network, *objecter_, config);
    objecter_->attach(*messenger_);
  }

 private:
  void need_map(Epoch epoch) {
    host_->to_js([callback = on_need_map_, epoch](Napi::Env env) {
      callback->Call({Napi::Number::New(env, epoch)});
    });
  }

  void set_map(const Napi::CallbackInfo& info) {
    host_->post([this, map = get_client_map(info[0].As<Napi::Object>())]() mutable {
      objecter_->set_map(std::move(map));
    });
  }

  // One step on one object; answer: of the reply's data, as a JavaScript number.
  Napi::Value submit(const Napi::CallbackInfo& info, net::Step step, Buffer data, net::Fence fence,
                     net::SnapContext context, std::uint64_t snap = kHead) {
    const Promise promise(info.Env(), *host_);
    objecter::Target target{info[0].ToNumber().Uint32Value(), info[1].ToString().Utf8Value(),
                            std::move(fence)};
    target.snap = snap;
    target.context = std::move(context);
    host_->post([this, target = std::move(target), step = std::move(step), data = std::move(data),
                 promise]() mutable {
      objecter_->submit(std::move(target), {std::move(step)}, std::move(data),
                        [promise](Status status, net::OpReply, Buffer read) {
                          if (!status) return promise.reject(status);
                          promise.resolve([value = value_of(read)](Napi::Env env) -> Napi::Value {
                            return Napi::Number::New(env, value);
                          });
                        });
    });
    return promise.value();
  }
  static net::Step block_step(const Napi::CallbackInfo& info, net::StepCode code) {
    net::Step step;
    step.code = code;
    step.offset = info[2].ToNumber().Uint32Value() * kBlockBytes;
    step.length = kBlockBytes;
    return step;
  }
  Napi::Value write(const Napi::CallbackInfo& info) {
    const auto value = static_cast<std::uint64_t>(info[3].ToNumber().Int64Value());
    return submit(info, block_step(info, net::StepCode::write), block_of(value), get_fence(info[4]),
                  get_context(info[5]));
  }
  Napi::Value read(const Napi::CallbackInfo& info) {
    return submit(info, block_step(info, net::StepCode::read), {}, get_fence(info[3]), {},
                  get_snap(info[4]));
  }
  Napi::Value remove(const Napi::CallbackInfo& info) {
    net::Step step;
    step.code = net::StepCode::remove;
    return submit(info, std::move(step), {}, {}, get_context(info[2]));
  }

  Napi::Value counters(const Napi::CallbackInfo& info) {
    const objecter::ObjecterCounters& counters = objecter_->counters();
    Napi::Object object = Napi::Object::New(info.Env());
    const auto set = [&object](const char* name, std::uint64_t value) {
      object.Set(name, static_cast<double>(value));
    };
    set("operations", counters.operations);
    set("resends", counters.resends);
    set("errors", counters.errors);
    set("inFlight", counters.in_flight);
    return object;
  }

  // The process dies: what is in flight is never answered.
  void close(const Napi::CallbackInfo&) {
    host_->kill();
    messenger_.reset();
    objecter_.reset();
  }

  std::shared_ptr<SimWorldState> world_;
  std::unique_ptr<SimHost> host_;
  std::shared_ptr<Napi::FunctionReference> on_need_map_;
  std::unique_ptr<objecter::Objecter> objecter_;
  std::unique_ptr<net::SimMessenger> messenger_;
};

}  // namespace

Napi::Function define_sim_client(Napi::Env env) { return Client::define(env); }

}  // namespace cairn::binding
