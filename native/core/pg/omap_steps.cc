// The steps of an operation that look at key-values. Those that follow one another are asked of the
// store at once, which costs about as much time as one of them, and judged in their order.
#include <utility>

#include "pg/pg_running.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

// So that one operation does not hold many long lists in memory at once.
constexpr std::size_t kStepsAtOnce = 32;

bool looks_at_omap(StepCode code) {
  return code == StepCode::omap_get || code == StepCode::omap_list ||
         code == StepCode::omap_compare;
}

}  // namespace

// The answers to some steps of a running operation, as they come.
struct Pg::OmapRead {
  struct Answer {
    std::size_t step = 0;
    Status status;
    bool exists = false;
    std::vector<std::pair<std::string, std::string>> values;
  };
  std::unique_ptr<Running> running;
  std::vector<Answer> answers;
  std::size_t awaited = 0;

  // What the step makes of it: into the reply, or the error that ends the operation.
  Status take(Answer& answer);
};

void Pg::run_omap(std::unique_ptr<Running> running) {
  const std::vector<Step>& steps = running->op.request.steps;
  auto read = std::make_shared<OmapRead>();
  // The caller has gone behind the first one. What mutates comes last, wherever it stands.
  std::size_t next = running->next_step - 1;
  for (; next < steps.size() && read->answers.size() < kStepsAtOnce; ++next) {
    if (looks_at_omap(steps[next].code)) {
      read->answers.push_back({next, {}, false, {}});
    } else if (!is_mutation(steps[next].code)) {
      break;
    }
  }
  running->next_step = next;
  read->running = std::move(running);
  read->awaited = read->answers.size();
  for (std::size_t index = 0; index < read->answers.size(); ++index) ask_omap(read, index);
}

void Pg::ask_omap(const std::shared_ptr<OmapRead>& read, std::size_t index) {
  const net::OpRequest& request = read->running->op.request;
  const Step& step = request.steps[read->answers[index].step];
  const bool lists = step.code == StepCode::omap_list;
  std::vector<std::string> keys;
  if (!lists) keys.push_back(step.key);
  host_.store().omap_get(id_, object_id(request.object), std::move(keys),
                         lists ? step.key : std::string(), lists ? step.value : std::string(),
                         lists ? static_cast<std::size_t>(step.length) : 1,
                         [this, read, index](Status status, bool exists, auto values) {
                           OmapRead::Answer& answer = read->answers[index];
                           answer.status = std::move(status);
                           answer.exists = exists;
                           answer.values = std::move(values);
                           if (--read->awaited == 0) judge_omap(*read);
                         });
}

void Pg::judge_omap(OmapRead& read) {
  if (!still_current(*read.running)) return;
  for (OmapRead::Answer& answer : read.answers) {
    const Status verdict = read.take(answer);
    if (!verdict) return fail_steps(std::move(read.running), verdict.code(), verdict.message());
  }
  run_steps(std::move(read.running));
}

Status Pg::OmapRead::take(Answer& answer) {
  if (!answer.status) return answer.status;
  running->reply.exists = answer.exists;
  const Step& step = running->op.request.steps[answer.step];
  if (step.code == StepCode::omap_compare) {
    const std::string& found = answer.values.empty() ? std::string() : answer.values[0].second;
    if (found == step.value) return Status::ok();
    return {ErrorCode::precondition_failed, "the value has been changed by somebody else"};
  }
  if (step.code == StepCode::omap_get && answer.values.empty()) {
    return {ErrorCode::not_found, "no such key"};
  }
  for (const auto& [key, value] : answer.values) {
    running->omap_bytes += net::kPairOverheadBytes + key.size() + value.size();
  }
  if (running->omap_bytes > net::kMaxReplyOmapBytes) {
    return {ErrorCode::too_large, "too many key-values for one reply; list fewer at a time"};
  }
  auto& omap = running->reply.omap;
  omap.insert(omap.end(), std::make_move_iterator(answer.values.begin()),
              std::make_move_iterator(answer.values.end()));
  return Status::ok();
}

}  // namespace cairn::pg
