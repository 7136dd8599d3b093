// The steps of an operation that look at key-values. Those that follow one another are asked of the
// store at once, which costs about as much time as one of them, and judged in their order.
#include <algorithm>
#include <map>
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

// Which key-values a step asks for.
struct OmapQuery {
  std::vector<std::string> keys;  // just these; empty: those with the prefix, behind `after`
  std::string prefix, after;
  std::size_t limit = 1;

  static OmapQuery of(const Step& step) {
    if (step.code != StepCode::omap_list) return {{step.key}, {}, {}, 1};
    return {{}, step.key, step.value, static_cast<std::size_t>(step.length)};
  }
  // What the store would give of them.
  std::vector<std::pair<std::string, std::string>> choose(
      const std::map<std::string, std::string>& omap) const {
    std::vector<std::pair<std::string, std::string>> chosen;
    for (const auto& [key, value] : omap) {
      const bool fits = keys.empty() ? key.starts_with(prefix) && (after.empty() || key > after)
                                     : key == keys.front();
      if (fits && chosen.size() < limit) chosen.emplace_back(key, value);
    }
    return chosen;
  }
};

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
  OmapQuery query = OmapQuery::of(request.steps[read->answers[index].step]);
  host_.store().omap_get(id_, object_id(request.object), std::move(query.keys),
                         std::move(query.prefix), std::move(query.after), query.limit,
                         [this, read, index](Status status, bool exists, auto values) {
                           OmapRead::Answer& answer = read->answers[index];
                           answer.status = std::move(status);
                           answer.exists = exists;
                           answer.values = std::move(values);
                           if (--read->awaited == 0) omap_found(read);
                         });
}

// All answers are from one copy: this one's, or, when it can't give one of them, another's.
void Pg::omap_found(const std::shared_ptr<OmapRead>& read) {
  if (!still_current(*read->running)) return;
  const auto failed =
      std::find_if(read->answers.begin(), read->answers.end(),
                   [](const OmapRead::Answer& answer) { return !answer.status.is_ok(); });
  if (failed != read->answers.end()) {
    const auto from_other = [this, read](std::unique_ptr<Running> waiting, FetchedRange range) {
      read->running = std::move(waiting);
      for (OmapRead::Answer& answer : read->answers) {
        const Step& step = read->running->op.request.steps[answer.step];
        answer = {answer.step, {}, range.exists, OmapQuery::of(step).choose(range.omap)};
      }
      judge_omap(*read);
    };
    const Status damage = failed->status;
    if (helped_by_others(read->running, damage, {kHead, 0, 0}, from_other)) return;
  }
  judge_omap(*read);
}

void Pg::judge_omap(OmapRead& read) {
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
