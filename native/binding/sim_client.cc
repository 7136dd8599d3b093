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

// Of a filling: {snaps, head}.
std::string get_layers(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  const auto snaps = object.Get("snaps").As<Napi::Array>();
  std::vector<std::uint64_t> layers;
  for (std::uint32_t i = 0; i < snaps.Length(); ++i)
    layers.push_back(static_cast<std::uint64_t>(snaps.Get(i).ToNumber().Int64Value()));
  if (get_flag(object, "head")) layers.push_back(kHead);
  return net::pack_ids(layers);
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
         InstanceMethod<&Client::fill>("fill"), InstanceMethod<&Client::lacking>("lacking"),
         InstanceMethod<&Client::sparsify>("sparsify"), InstanceMethod<&Client::list>("list"),
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

  // One step on one object; make: from the reply and its data to what makes the JavaScript value.
  template <typename Make>
  Napi::Value submit(const Napi::CallbackInfo& info, objecter::Target target, net::Step step,
                     Buffer data, Make make) {
    const Promise promise(info.Env(), *host_);
    host_->post([this, target = std::move(target), step = std::move(step), data = std::move(data),
                 promise, make]() mutable {
      objecter_->submit(std::move(target), {std::move(step)}, std::move(data),
                        [promise, make](Status status, net::OpReply reply, Buffer read) {
                          if (!status) return promise.reject(status);
                          promise.resolve(make(reply, read));
                        });
    });
    return promise.value();
  }
  // Answered with the number in the reply's data.
  Napi::Value submit_block(const Napi::CallbackInfo& info, objecter::Target target, net::Step step,
                           Buffer data) {
    return submit(info, std::move(target), std::move(step), std::move(data),
                  [](const net::OpReply&, const Buffer& read) {
                    return [value = value_of(read)](Napi::Env env) -> Napi::Value {
                      return Napi::Number::New(env, value);
                    };
                  });
  }
  static objecter::Target target_of(const Napi::CallbackInfo& info, net::Fence fence = {}) {
    return {info[0].ToNumber().Uint32Value(), info[1].ToString().Utf8Value(), std::move(fence)};
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
    objecter::Target target = target_of(info, get_fence(info[4]));
    target.context = get_context(info[5]);
    return submit_block(info, std::move(target), block_step(info, net::StepCode::write),
                        block_of(value));
  }
  Napi::Value read(const Napi::CallbackInfo& info) {
    objecter::Target target = target_of(info, get_fence(info[3]));
    target.snap = get_snap(info[4]);
    return submit_block(info, std::move(target), block_step(info, net::StepCode::read), {});
  }
  Napi::Value remove(const Napi::CallbackInfo& info) {
    objecter::Target target = target_of(info);
    target.context = get_context(info[2]);
    return submit_block(info, std::move(target), {net::StepCode::remove, 0, 0, {}, {}}, {});
  }
  // Blocks from the first one on.
  Napi::Value fill(const Napi::CallbackInfo& info) {
    const auto values = info[2].As<Napi::Array>();
    Buffer data = Buffer::allocate(values.Length() * kBlockBytes);
    for (std::uint32_t i = 0; i < values.Length(); ++i) {
      const auto value = static_cast<std::uint64_t>(values.Get(i).ToNumber().Int64Value());
      std::memcpy(data.data() + i * kBlockBytes, block_of(value).data(), kBlockBytes);
    }
    objecter::Target target = target_of(info);
    target.context = get_context(info[4]);
    net::Step step{net::StepCode::fill_layers, 0, data.size(), {}, get_layers(info[3])};
    return submit_block(info, std::move(target), std::move(step), std::move(data));
  }
  Napi::Value lacking(const Napi::CallbackInfo& info) {
    const std::uint64_t length = info[2].ToNumber().Uint32Value() * kBlockBytes;
    net::Step step{net::StepCode::lacking, 0, length, {}, get_layers(info[3])};
    return submit(info, target_of(info), std::move(step), {},
                  [](const net::OpReply& reply, const Buffer&) {
                    return [runs = reply.extents](Napi::Env env) -> Napi::Value {
                      Napi::Array lacks = Napi::Array::New(env);
                      for (const net::ExtentRun& run : runs) {
                        for (std::uint64_t at = 0; at < run.length; at += kBlockBytes)
                          lacks.Set(lacks.Length(), Napi::Boolean::New(env, run.state == 0));
                      }
                      return lacks;
                    };
                  });
  }
  Napi::Value sparsify(const Napi::CallbackInfo& info) {
    const std::uint64_t shown = info[2].ToNumber().Uint32Value() * kBlockBytes;
    net::Step step{net::StepCode::sparsify, shown, kBlockBytes, {}, {}};
    return submit_block(info, target_of(info), std::move(step), {});
  }
  Napi::Value list(const Napi::CallbackInfo& info) {
    objecter::Target target = target_of(info);
    target.snap = get_snap(info[2]);
    net::Step step{net::StepCode::list_objects, 0, net::kMaxListedObjects, {}, {}};
    return submit(info, std::move(target), std::move(step), {},
                  [](const net::OpReply& reply, const Buffer&) {
                    return [pairs = reply.omap](Napi::Env env) -> Napi::Value {
                      Napi::Array names = Napi::Array::New(env);
                      for (const auto& [name, flags] : pairs) {
                        if (flags.empty() || (flags[0] & net::kListedExists) == 0) continue;
                        names.Set(names.Length(), Napi::String::New(env, name));
                      }
                      return names;
                    };
                  });
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
