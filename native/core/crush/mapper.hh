// The mapper: CRUSH itself. Given a map, a rule and an input x, the devices that x is placed on,
// the same bits as Ceph's crush_do_rule for straw2 maps without choose_args and without the
// legacy local retries. Pure: no state, no allocation, bounded by the limits in map.hh.
// Source: S. Weil et al., "CRUSH: Controlled, Scalable, Decentralized Placement of Replicated
// Data" (SC 2006), and the behaviour of crushtool, which the golden files record.
#pragma once

#include <cstdint>
#include <span>

#include "crush/map.hh"

namespace cairn::crush {

// Places x by a rule. osd_weights: 16.16 per device id, 0x10000 in, 0 out, between: that share of
// inputs; a device beyond the span is out. result: at most kMaxResultSize wide, its size is the
// number of replicas wanted. Returns how many entries were written: a firstn rule that finds fewer
// devices writes fewer, an indep rule writes kItemNone for a hole. 0 for an unknown rule.
int do_rule(const Map& map, std::uint32_t rule_id, std::uint32_t x,
            std::span<const std::uint32_t> osd_weights, std::span<ItemId> result);

// As above, with the rule looked up already: for many inputs in a row.
int do_rule(const Map& map, const Rule& rule, std::uint32_t x,
            std::span<const std::uint32_t> osd_weights, std::span<ItemId> result);

// The straw2 draw: the item of a bucket that input x picks at attempt r. The bucket isn't empty.
ItemId straw2_choose(const Map& map, const Bucket& bucket, std::uint32_t x, std::uint32_t r);

}  // namespace cairn::crush
