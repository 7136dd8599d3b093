// Formats a run's figures.
#include "explore/report.hh"

#include <cstdio>

namespace cairn::explore {

namespace {

// Names as in the JSON report; the plain one has them with spaces.
struct Figure {
  const char* name;
  std::uint64_t Tally::*value;
};
constexpr Figure kWork[] = {{"lives", &Tally::lives},
                            {"moments", &Tally::moments},
                            {"transactions", &Tally::transactions},
                            {"repeated_states", &Tally::repeats}};
constexpr Figure kFaults[] = {{"power_cuts", &Tally::power_cuts},
                              {"writes_lost", &Tally::writes_lost},
                              {"writes_torn", &Tally::writes_torn},
                              {"bits_flipped", &Tally::bits_flipped},
                              {"flushed_writes_lost", &Tally::writes_dropped},
                              {"writes_misdirected", &Tally::writes_misdirected}};
constexpr Figure kDamage[] = {
    {"refused", &Tally::refused}, {"reported", &Tally::reported}, {"harmless", &Tally::harmless}};

std::string spaced(std::string name) {
  for (char& c : name)
    if (c == '_') c = ' ';
  return name;
}

std::string underscored(std::string_view name) {
  std::string text(name);
  for (char& c : text)
    if (c == ' ') c = '_';
  return text;
}

std::string decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

double per_second(const RunResult& result) {
  return result.seconds > 0 ? static_cast<double>(result.tally.total()) / result.seconds : 0;
}

template <std::size_t count>
std::string plain_line(const char* title, const Figure (&figures)[count], const Tally& tally) {
  std::string line = title;
  const char* between = " ";
  for (const Figure& figure : figures) {
    line += between + spaced(figure.name) + " " + std::to_string(tally.*figure.value);
    between = ", ";
  }
  return line + "\n";
}

template <std::size_t count>
std::string json_object(const Figure (&figures)[count], const Tally& tally) {
  std::string text = "{";
  const char* between = "";
  for (const Figure& figure : figures) {
    text +=
        between + ("\"" + std::string(figure.name)) + "\":" + std::to_string(tally.*figure.value);
    between = ",";
  }
  return text + "}";
}

std::string quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      quoted += escape;
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace

std::string replay_command(const StateId& state, const StoreGeometry& geometry) {
  const StoreGeometry usual;
  std::string command = "npm run explore -- --replay " + state.to_string();
  if (geometry.wal_bytes != usual.wal_bytes)
    command += " --wal-kib " + std::to_string(geometry.wal_bytes >> 10);
  if (geometry.data_blocks != usual.data_blocks)
    command += " --data-blocks " + std::to_string(geometry.data_blocks);
  return command;
}

std::string progress_line(const RunResult& result, const RunOptions& options) {
  const std::string limit = options.seconds > 0 ? " of " + decimal(options.seconds) : "";
  return decimal(result.seconds) + limit + " s: " + std::to_string(result.tally.total()) +
         " states, " + decimal(per_second(result)) + "/s, " +
         std::to_string(result.findings.size()) + " bad";
}

std::string plain_report(const RunResult& result, const RunOptions& options) {
  const Tally& tally = result.tally;
  std::string text = "seed " + std::to_string(options.seed) + ", " +
                     std::to_string(options.workers) + " workers, stores of " +
                     std::to_string(options.geometry.disk_bytes() >> 10) + " KiB\n";
  text += "crash states " + std::to_string(tally.total()) + " in " + decimal(result.seconds) +
          " s (" + decimal(per_second(result)) + "/s)\n";
  for (std::size_t kind = 0; kind < kStateKinds; ++kind)
    text += "  " + std::string(name_of(static_cast<StateKind>(kind))) + ": " +
            std::to_string(tally.states[kind]) + "\n";
  text += plain_line("work:", kWork, tally);
  text += plain_line("faults delivered:", kFaults, tally);
  text += plain_line("damage:", kDamage, tally);
  for (const RunResult::Finding& finding : result.findings)
    text += "FINDING " + finding.state.to_string() + " after " + decimal(finding.after_seconds) +
            " s: " + finding.text + "\n  " + replay_command(finding.state, options.geometry) + "\n";
  return text + "bad states " + std::to_string(result.findings.size()) + "\n";
}

std::string json_report(const RunResult& result, const RunOptions& options) {
  const Tally& tally = result.tally;
  std::string text = "{\"seed\":" + std::to_string(options.seed) +
                     ",\"workers\":" + std::to_string(options.workers) +
                     ",\"seconds\":" + decimal(result.seconds) +
                     ",\"states\":" + std::to_string(tally.total()) +
                     ",\"states_per_second\":" + decimal(per_second(result)) + ",\"kinds\":{";
  for (std::size_t kind = 0; kind < kStateKinds; ++kind)
    text += (kind > 0 ? ",\"" : "\"") + underscored(name_of(static_cast<StateKind>(kind))) +
            "\":" + std::to_string(tally.states[kind]);
  text += "},\"work\":" + json_object(kWork, tally);
  text += ",\"faults\":" + json_object(kFaults, tally);
  text += ",\"damage\":" + json_object(kDamage, tally) + ",\"bad\":[";
  for (std::size_t i = 0; i < result.findings.size(); ++i) {
    const RunResult::Finding& finding = result.findings[i];
    text += (i > 0 ? ",{" : "{") + ("\"state\":\"" + finding.state.to_string()) +
            "\",\"after_seconds\":" + decimal(finding.after_seconds) +
            ",\"text\":" + quoted(finding.text) +
            ",\"replay\":" + quoted(replay_command(finding.state, options.geometry)) + "}";
  }
  return text + "]}\n";
}

}  // namespace cairn::explore
