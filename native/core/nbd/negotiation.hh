// Negotiation: the server's half of the NBD handshake, as a pure state machine over bytes: from the
// greeting to the first byte of the transmission phase (fixed newstyle; docs/protocol/nbd.md).
//
// Invariants
// - It holds at most one option of kMaxOptionBytes; longer ones end the connection.
// - Once outcome() is not pending, feed() consumes nothing more: what follows belongs to the
//   transmission phase.
// Does not: know sockets or deadlines; the connection limits the time that a client may take.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nbd/nbd_protocol.hh"

namespace cairn::nbd {

class Negotiation {
 public:
  enum class Outcome : std::uint8_t {
    pending,
    transmission,  // send the output, then serve requests
    closed,        // send the output, then close: the client is done
    failed,        // close; failure() says why
  };

  // The greeting is already in the output.
  explicit Negotiation(ExportInfo info);

  // Takes bytes of the client; returns how many were consumed: all of them while pending.
  std::size_t feed(ByteSpan bytes);
  Outcome outcome() const { return outcome_; }
  // protocol_error (the peer does not speak NBD) or not_found (EXPORT_NAME of another export, to
  // which the protocol has no other answer than closing).
  const Status& failure() const { return failure_; }
  const Negotiated& negotiated() const { return negotiated_; }
  const ExportInfo& info() const { return info_; }
  // The bytes to send, once.
  std::vector<std::byte> take_output();

 private:
  enum class Stage : std::uint8_t { client_flags, option_header, option_data };
  // INFO's and GO's data, parsed.
  struct InfoRequest {
    std::string_view name;
    bool wants_name = false;
    bool wants_description = false;
  };

  std::size_t wanted_bytes() const;
  void on_client_flags();
  void on_option_header();
  void on_option_data();

  void on_export_name(std::string_view name);
  void on_list(ByteSpan data);
  void on_info(Option option, ByteSpan data);
  void on_structured_reply(ByteSpan data);
  void on_meta_context(Option option, ByteSpan data);

  // Marks what a query names: base:allocation first, then the bitmaps.
  void select_contexts(std::string_view query, Option option, std::vector<bool>& selected) const;
  void reply_context(std::uint32_t id, const std::string& name);

  bool is_our_export(std::string_view name) const;
  void reply(OptionReply type, ByteSpan data);
  void refuse(OptionReply error, std::string_view message);
  void fail(ErrorCode code, std::string message);

  ExportInfo info_;
  Outcome outcome_ = Outcome::pending;
  Status failure_;
  Negotiated negotiated_;
  Stage stage_ = Stage::client_flags;
  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  std::uint32_t option_ = 0;         // of the current stage option_data
  std::uint32_t option_length_ = 0;  // bytes of its data
  std::vector<std::byte> pending_;   // of the current stage, incomplete
  std::vector<std::byte> output_;
};

}  // namespace cairn::nbd
