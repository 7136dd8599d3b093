// The comparison of copies: see scrub_verdict.hh.
#include "pg/scrub_verdict.hh"

#include <algorithm>
#include <tuple>

#include "base/probe.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(scrub_copies_ambiguous);
CAIRN_DEFINE_PROBE(scrub_log_decides);

namespace {

// Members whose copies are equal.
struct Group {
  const net::ScrubObject* content = nullptr;
  std::vector<OsdId> members;
  bool whole = false;  // one of them has no bad block
};

bool is_equal(const net::ScrubObject& a, const net::ScrubObject& b) {
  if (!a.exists && !b.exists) return true;
  return std::tie(a.exists, a.version, a.blocks_digest, a.omap_digest) ==
         std::tie(b.exists, b.version, b.blocks_digest, b.omap_digest);
}

std::vector<Group> groups_of(const std::map<OsdId, net::ScrubObject>& copies) {
  std::vector<Group> groups;
  for (const auto& [osd, copy] : copies) {
    if (copy.code != ErrorCode::ok) continue;
    auto group = std::find_if(groups.begin(), groups.end(), [&copy = copy](const Group& g) {
      return is_equal(*g.content, copy);
    });
    if (group == groups.end()) group = groups.insert(groups.end(), Group{&copy, {}, false});
    group->members.push_back(osd);
    group->whole = group->whole || copy.bad_blocks.empty();
  }
  return groups;
}

template <typename Wanted>
void keep(std::vector<Group>& groups, Wanted wanted) {
  std::erase_if(groups, [&wanted](const Group& group) { return !wanted(group); });
}

// Keeps the groups that the log's newest entry speaks of, if there are any.
bool keep_logged(std::vector<Group>& groups, const net::LogEntry* newest) {
  if (newest == nullptr) return false;
  const auto fits = [newest](const Group& group) {
    if (newest->removes) return !group.content->exists;
    return group.content->exists && group.content->version == newest->version;
  };
  if (std::none_of(groups.begin(), groups.end(), fits)) return false;
  keep(groups, fits);
  scrub_log_decides.hit();
  return true;
}

// Keeps the groups of the existence that most members vouch for, both at a tie.
void keep_existence(std::vector<Group>& groups) {
  std::size_t with = 0, without = 0;
  for (const Group& group : groups) {
    (group.content->exists ? with : without) += group.members.size();
  }
  if (with == without) return;
  const bool exists = with > without;
  keep(groups, [exists](const Group& group) { return group.content->exists == exists; });
}

template <typename Rank>
void keep_highest(std::vector<Group>& groups, Rank rank) {
  if (groups.empty()) return;
  auto best = rank(groups.front());
  for (const Group& group : groups) best = std::max(best, rank(group));
  keep(groups, [&](const Group& group) { return rank(group) == best; });
}

const Group* authority_of(std::vector<Group>& groups, const net::LogEntry* newest) {
  if (!keep_logged(groups, newest)) {
    keep_existence(groups);
    const bool agreed = std::all_of(groups.begin(), groups.end(), [&groups](const Group& group) {
      return group.content->exists == groups.front().content->exists;
    });
    if (!agreed) return nullptr;
    keep_highest(groups, [](const Group& group) { return group.content->version; });
  }
  keep_highest(groups, [](const Group& group) { return group.members.size(); });
  keep_highest(groups, [](const Group& group) { return group.whole; });
  return groups.size() == 1 ? &groups.front() : nullptr;
}

CopyProblem problem_of(const net::ScrubObject& copy, const Group* authority) {
  if (copy.code != ErrorCode::ok) return CopyProblem::unreadable;
  if (authority == nullptr) return CopyProblem::differs;
  if (is_equal(copy, *authority->content)) return CopyProblem::none;
  if (!copy.exists) return CopyProblem::missing;
  return authority->content->exists ? CopyProblem::differs : CopyProblem::extra;
}

}  // namespace

std::string_view name_of(CopyProblem problem) {
  switch (problem) {
    case CopyProblem::none:
      return "none";
    case CopyProblem::missing:
      return "missing";
    case CopyProblem::extra:
      return "extra";
    case CopyProblem::differs:
      return "differs";
    case CopyProblem::unreadable:
      return "unreadable";
  }
  return "none";
}

std::uint64_t ObjectVerdict::error_count() const {
  std::uint64_t count = 0;
  for (const BadCopy& copy : bad) {
    count += copy.bad_blocks.size() + (copy.problem == CopyProblem::none ? 0 : 1);
  }
  return count;
}

ObjectVerdict judge(const std::string& object, const std::map<OsdId, net::ScrubObject>& copies,
                    const net::LogEntry* newest) {
  std::vector<Group> groups = groups_of(copies);
  const Group* authority = authority_of(groups, newest);
  if (authority == nullptr) scrub_copies_ambiguous.hit();
  ObjectVerdict verdict;
  verdict.object = object;
  for (const auto& [osd, copy] : copies) {
    const CopyProblem problem = problem_of(copy, authority);
    if (problem == CopyProblem::none && copy.bad_blocks.empty()) {
      verdict.good.push_back(osd);
    } else {
      verdict.bad.push_back({osd, problem, copy.bad_blocks});
    }
  }
  return verdict;
}

}  // namespace cairn::pg
