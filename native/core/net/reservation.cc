// The bytes of reservation.hh.
#include "net/reservation.hh"

namespace cairn::net {

void put(Writer& writer, const Reservation& reservation) {
  writer.put(reservation.iops);
  writer.put(reservation.stream);
  writer.put(reservation.served);
}

Reservation get_reservation(Reader& reader) {
  Reservation reservation;
  reservation.iops = reader.get<std::uint32_t>();
  reservation.stream = reader.get<std::uint64_t>();
  reservation.served = reader.get<std::uint32_t>();
  if (reservation.iops == 0 || reservation.served == 0) reader.fail();
  return reservation;
}

}  // namespace cairn::net
