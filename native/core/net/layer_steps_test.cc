// Steps that name several layers of an object: what an operation and an entry may hold.
#include <doctest/doctest.h>

#include "net/op_limits.hh"
#include "net/sample_messages.hh"

namespace cairn::net {

namespace {

using namespace sample;
using enum StepCode;

Step of(StepCode code, const std::vector<std::uint64_t>& layers,
        std::uint64_t length = kBlockBytes) {
  return {code, 0, length, {}, pack_ids(layers)};
}

bool op_fits(const Step& step, const Buffer& data = {}) {
  OpRequest request = copyup_request();
  request.steps = {step};
  OpRequest decoded;
  const bool is_decoded = decode(encode(request, data), decoded).is_ok();
  CHECK(is_decoded == check_limits(request, data.size()).is_ok());
  return is_decoded;
}

bool entry_fits(std::vector<Step> steps, const Buffer& data = {}) {
  Replicate message = replicated_write();
  message.steps = std::move(steps);
  Replicate decoded;
  return decode(encode(message, data), decoded).is_ok();
}

}  // namespace

TEST_CASE("layer steps: an operation names layers in order, in a value of their length") {
  CHECK(unpack_ids(pack_ids({3, kHead})) == std::vector<std::uint64_t>{3, kHead});
  CHECK(op_fits(of(fill_layers, {3, 4, kHead}), one_block()));
  CHECK_FALSE(op_fits(of(fill_layers, {4, 3}), one_block()));
  CHECK_FALSE(op_fits(of(fill_layers, {0}), one_block()));
  CHECK_FALSE(op_fits(of(fill_layers, {}), one_block()));
  CHECK_FALSE(op_fits(of(fill_layers, {3}, 100), one_block()));
  Step keyed = of(fill_layers, {3});
  keyed.key.push_back('k');
  CHECK_FALSE(op_fits(keyed, one_block()));
  CHECK(op_fits(of(lacking, {3})));
  CHECK(op_fits(of(lacking, {3}, 100)));
  std::vector<std::uint64_t> most;
  for (std::uint64_t id = 1; id <= kMaxContextSnaps; ++id) most.push_back(id);
  most.push_back(kHead);
  CHECK(op_fits(of(lacking, most)));
  most.insert(most.end() - 1, kMaxContextSnaps + 1);
  CHECK_FALSE(op_fits(of(lacking, most)));
}

TEST_CASE("layer steps: what primaries send to replicas is refused from clients") {
  CHECK_FALSE(op_fits(of(write_layer, {3}), one_block()));
  CHECK_FALSE(op_fits(of(share_blocks, {3, 4})));
  CHECK_FALSE(op_fits({copy_clone, 3, 4, {}, {}}));
  CHECK(entry_fits({of(write_layer, {3}), of(share_blocks, {3, 4})}, one_block()));
  CHECK(entry_fits({{copy_clone, 3, 4, {}, {}}}));
  CHECK_FALSE(entry_fits({of(write_layer, {3, 4})}, one_block()));
  CHECK_FALSE(entry_fits({of(share_blocks, {3})}));
  CHECK_FALSE(entry_fits({of(share_blocks, {3, 4}, 100)}));
  CHECK_FALSE(entry_fits({{copy_clone, 4, 4, {}, {}}}));
  CHECK_FALSE(entry_fits({of(fill_layers, {3})}, one_block()));
}

}  // namespace cairn::net
