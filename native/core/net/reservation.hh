// Reservation: the operations per second that an image is to get even where others flood an OSD. It
// travels with each operation of the image; pg/reservation_queue.hh keeps to it.
#pragma once

#include <cstdint>

#include "base/bytes.hh"

namespace cairn::net {

struct Reservation {
  std::uint32_t iops = 0;    // of the whole image, whatever OSDs it is spread over; 0: none
  std::uint64_t stream = 0;  // which image of the client
  // Operations of the stream that any OSD has answered since the one before to this OSD was sent,
  // and this one: so much of the image's second this one stands for.
  std::uint32_t served = 1;
  bool operator==(const Reservation&) const = default;
};

void put(Writer& writer, const Reservation& reservation);
// Fails the reader where it has no IOPS or serves nothing.
Reservation get_reservation(Reader& reader);

}  // namespace cairn::net
