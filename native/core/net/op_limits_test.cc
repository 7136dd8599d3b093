// check_limits against the decoder: it passes what decodes and nothing else.
#include "net/op_limits.hh"

#include <doctest/doctest.h>

#include "io/random.hh"

namespace cairn::net {

namespace {

OpRequest good_request() {
  OpRequest request;
  request.object = "object";
  request.steps = {{StepCode::touch, 0, 0, {}, {}}};
  return request;
}

bool decodes(const OpRequest& request, std::size_t data_bytes) {
  OpRequest decoded;
  return decode(encode(request, Buffer::zeroed(data_bytes)), decoded).is_ok();
}

// The code of the check, after it has been held against the decoder.
ErrorCode code_of(const OpRequest& request, std::size_t data_bytes = 0) {
  const Status status = check_limits(request, data_bytes);
  CHECK(status.is_ok() == decodes(request, data_bytes));
  return status.code();
}

Step pair(std::size_t key_bytes, std::size_t value_bytes) {
  return {StepCode::omap_set, 0, 0, std::string(key_bytes, 'k'), std::string(value_bytes, 'v')};
}

}  // namespace

TEST_CASE("op limits: each limit is met exactly, with its code") {
  OpRequest request = good_request();
  CHECK(code_of(request) == ErrorCode::ok);
  request.object.assign(kMaxObjectNameBytes, 'n');
  CHECK(code_of(request) == ErrorCode::ok);
  request.object += 'n';
  CHECK(code_of(request) == ErrorCode::invalid_argument);
  request.object.clear();
  CHECK(code_of(request) == ErrorCode::invalid_argument);

  request = good_request();
  request.steps.resize(kMaxStepsPerOp, request.steps[0]);
  CHECK(code_of(request) == ErrorCode::ok);
  request.steps.push_back(request.steps[0]);  // the encoder asserts that this never comes to it
  CHECK(check_limits(request, 0).code() == ErrorCode::invalid_argument);
  request.steps.clear();
  CHECK(code_of(request) == ErrorCode::invalid_argument);

  request.steps = {pair(kMaxOmapKeyBytes, kMaxOmapValueBytes)};
  CHECK(code_of(request) == ErrorCode::ok);
  request.steps = {pair(kMaxOmapKeyBytes + 1, 0)};
  CHECK(code_of(request) == ErrorCode::too_large);
  request.steps = {pair(1, kMaxOmapValueBytes + 1)};
  CHECK(code_of(request) == ErrorCode::too_large);

  request.steps = {{StepCode::punch, kMaxObjectBytes, 0, {}, {}}};
  CHECK(code_of(request) == ErrorCode::ok);
  request.steps = {{StepCode::punch, kMaxObjectBytes, 1, {}, {}}};
  CHECK(code_of(request) == ErrorCode::out_of_range);
  request.steps = {{StepCode::punch, 1, ~std::uint64_t{0}, {}, {}}};
  CHECK(code_of(request) == ErrorCode::out_of_range);
}

TEST_CASE("op limits: data and its write go together, once") {
  OpRequest request = good_request();
  const Step write{StepCode::write, 0, 4096, {}, {}};
  const Step read{StepCode::read, 0, 4096, {}, {}};
  CHECK(code_of(request, 4096) == ErrorCode::invalid_argument);
  request.steps = {write};
  CHECK(code_of(request, 4096) == ErrorCode::ok);
  CHECK(code_of(request, 0) == ErrorCode::invalid_argument);
  CHECK(code_of(request, 8192) == ErrorCode::invalid_argument);
  request.steps = {write, write};
  CHECK(code_of(request, 4096) == ErrorCode::invalid_argument);
  request.steps = {read, write};
  CHECK(code_of(request, 4096) == ErrorCode::ok);
  request.steps = {read, read};
  CHECK(code_of(request) == ErrorCode::invalid_argument);
}

TEST_CASE("op limits: all key-values together, to the byte") {
  OpRequest request = good_request();
  request.steps.clear();
  for (int i = 0; i < 8; ++i) request.steps.push_back(pair(1, kMaxOmapValueBytes - 4096));
  request.steps.push_back(pair(1, 0));
  const std::size_t encoded = encode(request, {}).meta.size();
  REQUIRE(encoded < kMaxOpMetaBytes);
  request.steps.back().value.assign(kMaxOpMetaBytes - encoded, 'v');
  CHECK(code_of(request) == ErrorCode::ok);
  request.steps.back().value += 'v';
  CHECK(code_of(request) == ErrorCode::too_large);
}

TEST_CASE("op limits: random operations agree with the decoder") {
  io::Random random(7);
  int passed = 0;
  for (int round = 0; round < 5000; ++round) {
    OpRequest request = good_request();
    request.steps.clear();
    request.object.assign(random.below(12) == 0 ? random.below(300) : 9, 'o');
    std::size_t data_bytes = random.below(4) == 0 ? 4096 : 0;
    for (std::uint64_t step = random.below(4); step < 5; ++step) {
      const auto code = static_cast<StepCode>(1 + random.below(kMaxStepCode));
      Step made{code, random.below(2) * 4096, random.below(3) * 4096, {}, {}};
      if (!has_range(code) && random.below(3) > 0) made.length = 0;
      if (has_key(code)) {
        made.key.assign(random.below(20) == 0 ? random.below(1200) : 5, 'k');
        made.value.assign(random.below(10), 'v');
      } else if (random.below(30) == 0) {
        made.length = random.next();
      }
      request.steps.push_back(made);
    }
    if (random.below(10) == 0) request.snap = random.below(3) == 0 ? 0 : 4096;
    if (random.below(5) == 0) request.snap_context = {5, {5 - random.below(3), random.below(4)}};
    if (code_of(request, data_bytes) == ErrorCode::ok) ++passed;
  }
  CHECK(passed > 50);
  CHECK(passed < 4950);
}

TEST_CASE("op limits: snapshots") {
  OpRequest request = good_request();
  request.snap_context = {9, {9, 4}};
  CHECK(code_of(request) == ErrorCode::ok);
  request.snap_context.snaps = {4, 9};
  CHECK(code_of(request) == ErrorCode::invalid_argument);
  request = good_request();
  request.snap = 4;
  CHECK(code_of(request) == ErrorCode::invalid_argument);
  request.steps = {{StepCode::stat, 0, 0, {}, {}}};
  CHECK(code_of(request) == ErrorCode::ok);
  for (int code = 27; code <= kMaxStepCode; ++code) {
    request.steps = {{static_cast<StepCode>(code), 0, 0, {}, {}}};
    CHECK(code_of(request) == ErrorCode::invalid_argument);
  }
}

TEST_CASE("op limits: a sparsify names a place and a unit, and is alone") {
  OpRequest request = good_request();
  const auto with = [&request](std::uint64_t offset, std::uint64_t length) {
    request.steps = {{StepCode::sparsify, offset, length, {}, {}}};
    return code_of(request);
  };
  CHECK(with(0, kBlockBytes) == ErrorCode::ok);
  CHECK(with(kMaxObjectBytes, kMaxObjectBytes) == ErrorCode::ok);
  CHECK(with(kMaxObjectBytes + kBlockBytes, kBlockBytes) == ErrorCode::invalid_argument);
  CHECK(with(100, kBlockBytes) == ErrorCode::invalid_argument);
  for (const std::uint64_t unit :
       {std::uint64_t{0}, std::uint64_t{2048}, 3 * kBlockBytes, 2 * kMaxObjectBytes})
    CHECK(with(0, unit) == ErrorCode::invalid_argument);
  request.steps = {{StepCode::sparsify, 0, kBlockBytes, {}, {}}, {StepCode::touch, 0, 0, {}, {}}};
  CHECK(code_of(request) == ErrorCode::invalid_argument);
  request.steps.pop_back();
  request.snap = 4;
  CHECK(code_of(request) == ErrorCode::invalid_argument);
}

TEST_CASE("op limits: fences and watches") {
  OpRequest request = good_request();
  request.fence = {std::string(kMaxFenceKeyBytes, 'k'), 1};
  CHECK(code_of(request) == ErrorCode::ok);
  request.fence.key += 'k';
  CHECK(code_of(request) == ErrorCode::invalid_argument);
  request.fence.key.clear();
  CHECK(code_of(request) == ErrorCode::invalid_argument);
  request = good_request();
  request.steps = {{StepCode::watch, 0, kMaxWatchTimeoutMs, "cookie", "somebody"}};
  CHECK(code_of(request) == ErrorCode::ok);
  request.steps[0].length = 0;
  CHECK(code_of(request) == ErrorCode::invalid_argument);
  request.steps = {{StepCode::notify, 0, 1, {}, std::string(kMaxNotifyPayloadBytes, 'p')}};
  CHECK(code_of(request) == ErrorCode::ok);
  request.steps[0].value += 'p';
  CHECK(code_of(request) == ErrorCode::invalid_argument);
}

}  // namespace cairn::net
