// The store as a daemon runs it: on a file, through io_uring, with the key-value store's threads.
#include <doctest/doctest.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "io/reactor.hh"
#include "io/uring_disk.hh"
#include "object_store/object_store.hh"
#include "object_store/test_model.hh"

using namespace cairn;
using namespace cairn::object_store;

namespace {

constexpr int kObjects = 300;
const PgId kPg{1, 0};

struct Machine {
  Machine() {
    Result<std::unique_ptr<io::Reactor>> made = io::Reactor::create();
    REQUIRE_MESSAGE(made.is_ok(), made.status().to_string());
    reactor = std::move(*made);
    char folder[] = "/tmp/cairn-store-XXXXXX";
    REQUIRE(::mkdtemp(folder) != nullptr);
    path = std::string(folder) + "/data";
  }
  ~Machine() {
    store.reset();
    disk.reset();
    ::unlink(path.c_str());
    ::rmdir(path.substr(0, path.rfind('/')).c_str());
  }
  void open_disk(bool create) {
    auto opened = io::UringDisk::open(*reactor, path,
                                      {.create = create, .size_bytes = std::uint64_t{256} << 20});
    REQUIRE_MESSAGE(opened.is_ok(), opened.status().to_string());
    disk = std::move(*opened);
  }
  void open_store() {
    Options options;
    options.post_back = [this](io::Task task) { reactor->post_from_any_thread(std::move(task)); };
    options.metadata_cache_bytes = 4096;  // so that reads load metadata
    auto opened = ObjectStore::open(*reactor, *disk, {}, std::move(options));
    REQUIRE_MESSAGE(opened.is_ok(), opened.status().to_string());
    store = std::move(*opened);
  }
  void close() {
    store->close([this](Status status) {
      CHECK_MESSAGE(status.is_ok(), status.to_string());
      reactor->stop();
    });
    reactor->run();
    drop();
  }
  // The disk closes its file once the reactor has run what was left.
  void drop() {
    store.reset();
    disk.reset();
    reactor->run_after(50'000'000, [this] { reactor->stop(); });
    reactor->run();
  }
  void write_all(std::uint64_t generation) {
    left = kObjects;
    for (int i = 0; i < kObjects; ++i) {
      const std::uint64_t content = generation * 1000 + static_cast<std::uint64_t>(i);
      Buffer data = Buffer::allocate(kBlockBytes * (i % 20 == 0 ? 32 : 1));
      for (std::size_t at = 0; at < data.size(); at += kBlockBytes)
        test::fill_block(content, data.span().subspan(at, kBlockBytes));
      Transaction transaction;
      transaction.write(kPg, object(i), 0, std::move(data), {1, content});
      store->submit(std::move(transaction), [this](Status status) {
        CHECK_MESSAGE(status.is_ok(), status.to_string());
        if (--left == 0) reactor->stop();
      });
    }
    reactor->run();
  }
  void read_all(std::uint64_t generation) {
    left = kObjects;
    for (int i = 0; i < kObjects; ++i)
      store->read(kPg, object(i), 0, kBlockBytes, false, [=, this](Status status, ReadResult read) {
        CHECK_MESSAGE(status.is_ok(), status.to_string());
        Buffer expected = Buffer::allocate(kBlockBytes);
        test::fill_block(generation * 1000 + static_cast<std::uint64_t>(i), expected.span());
        CHECK(std::memcmp(read.data.data(), expected.data(), kBlockBytes) == 0);
        if (--left == 0) reactor->stop();
      });
    reactor->run();
  }
  void checkpoint() {
    store->checkpoint([this](Status status) {
      CHECK(status.is_ok());
      reactor->stop();
    });
    reactor->run();
  }
  static ObjectId object(int i) { return {1, "object" + std::to_string(i), kHead}; }

  std::unique_ptr<io::Reactor> reactor;
  std::string path;
  std::unique_ptr<io::UringDisk> disk;
  std::unique_ptr<ObjectStore> store;
  int left = 0;
};

}  // namespace

TEST_CASE("on a file, with threads: write, read, checkpoint, close, reopen, replay") {
  Machine machine;
  machine.open_disk(true);
  Identity identity;
  identity.osd = 1;
  Geometry geometry;
  geometry.wal_bytes = std::uint64_t{16} << 20;
  const Status formatted = ObjectStore::format(*machine.disk, identity, geometry);
  REQUIRE_MESSAGE(formatted.is_ok(), formatted.to_string());
  machine.open_store();
  machine.write_all(1);
  machine.checkpoint();
  machine.read_all(1);
  machine.write_all(2);
  machine.read_all(2);
  machine.close();

  machine.open_disk(false);
  machine.open_store();
  machine.read_all(2);
  machine.write_all(3);
  // Away without a close: the WAL has it.
  machine.drop();
  machine.open_disk(false);
  machine.open_store();
  machine.read_all(3);
  machine.close();
}
