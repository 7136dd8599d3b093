// What the tests of this folder share: random diffs, as records and as bytes, and their model: a
// disk as a vector.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "diff/diff_parser.hh"

namespace cairn::diff {

struct TestRecord {
  bool zero = false;
  std::uint64_t offset = 0;
  std::vector<std::byte> data;  // of a write
  std::uint64_t length_bytes = 0;
};

struct TestDiff {
  DiffHeader header;
  std::vector<TestRecord> records;
};

inline void put_records(Writer& writer, const TestDiff& diff) {
  put_diff_header(writer, diff.header);
  for (const TestRecord& record : diff.records) {
    if (record.zero) {
      put_zero(writer, diff.header.version, record.offset, record.length_bytes);
    } else {
      put_write_head(writer, diff.header.version, record.offset, record.length_bytes);
      writer.raw(record.data);
    }
  }
  put_end(writer);
}

inline std::vector<std::byte> bytes_of(const TestDiff& diff) {
  Writer writer;
  put_records(writer, diff);
  return writer.take();
}

// In order, without overlaps; ranges of any alignment.
inline TestDiff random_diff(std::mt19937_64& random, std::uint64_t size_bytes,
                            std::uint64_t longest_bytes) {
  TestDiff diff;
  diff.header.version = 1;
  diff.header.size_bytes = size_bytes;
  const auto draw = [&](std::uint64_t most) { return random() % most + 1; };
  std::uint64_t at = random() % 3 == 0 ? 0 : draw(longest_bytes);
  while (at < size_bytes) {
    TestRecord record;
    record.zero = random() % 3 == 0;
    record.offset = at;
    record.length_bytes = std::min(draw(longest_bytes), size_bytes - at);
    if (!record.zero) {
      record.data.resize(record.length_bytes);
      for (std::byte& byte : record.data) byte = static_cast<std::byte>(random() % 255 + 1);
    }
    at += record.length_bytes + (random() % 2 == 0 ? 0 : draw(longest_bytes));
    diff.records.push_back(std::move(record));
  }
  return diff;
}

// What import-diff makes of a disk.
inline void apply_to(const TestDiff& diff, std::vector<std::byte>& disk) {
  disk.resize(*diff.header.size_bytes);
  for (const TestRecord& record : diff.records) {
    const auto at = disk.begin() + static_cast<long>(record.offset);
    if (record.zero) {
      std::fill(at, at + static_cast<long>(record.length_bytes), std::byte{0});
    } else {
      std::copy(record.data.begin(), record.data.end(), at);
    }
  }
}

// Reads a whole stream; pieces(left): how many of the bytes come next.
struct ReadDiffs {
  Status status;
  bool has_image = false;
  ImageHeader image;
  std::vector<TestDiff> diffs;
  std::size_t ends = 0;
  bool finished = false;
};

template <typename Pieces>
ReadDiffs read_diffs(ByteSpan stream, Pieces pieces) {
  ReadDiffs read;
  DiffParser parser;
  ByteSpan input;
  while (true) {
    const Result<DiffEvent> event = parser.next(input);
    if (!event) {
      read.status = event.status();
      return read;
    }
    const DiffEvent& what = event.value();
    switch (what.kind) {
      case EventKind::need_bytes:
        CAIRN_ASSERT(input.empty());
        if (stream.empty()) {
          read.status = parser.end_of_input();
          return read;
        }
        input = stream.first(pieces(stream));
        stream = stream.subspan(input.size());
        break;
      case EventKind::image:
        read.has_image = true;
        read.image = parser.image_header();
        break;
      case EventKind::diff:
        read.diffs.push_back({parser.diff_header(), {}});
        break;
      case EventKind::write:
      case EventKind::zero:
        read.diffs.back().records.push_back(
            {what.kind == EventKind::zero, what.offset, {}, what.length_bytes});
        break;
      case EventKind::payload: {
        std::vector<std::byte>& data = read.diffs.back().records.back().data;
        data.insert(data.end(), what.payload.begin(), what.payload.end());
        break;
      }
      case EventKind::end:
        ++read.ends;
        break;
      case EventKind::finished:
        read.finished = true;
        return read;
    }
  }
}

inline bool same(const TestDiff& left, const TestDiff& right) {
  const auto same_record = [](const TestRecord& a, const TestRecord& b) {
    return a.zero == b.zero && a.offset == b.offset && a.length_bytes == b.length_bytes &&
           a.data == b.data;
  };
  return left.header.version == right.header.version &&
         left.header.from_snap == right.header.from_snap &&
         left.header.to_snap == right.header.to_snap &&
         left.header.is_protected == right.header.is_protected &&
         left.header.size_bytes == right.header.size_bytes &&
         std::equal(left.records.begin(), left.records.end(), right.records.begin(),
                    right.records.end(), same_record);
}

}  // namespace cairn::diff
