#include "tflite/mapped_file.h"

#include <gtest/gtest.h>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace dgms {
namespace {

constexpr int64_t kBytes = 1 << 20;

uint8_t ValueAt(int64_t i) { return static_cast<uint8_t>(i * 7 + i / 4096); }

// Memory of kBytes, and whether its pages are there.
class Mapping {
 public:
  Mapping(int protection, int flags, int file = -1)
      : data_(static_cast<uint8_t*>(mmap(nullptr, kBytes, protection, flags, file, 0))) {}
  ~Mapping() { munmap(data_, kBytes); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  uint8_t* data() { return data_; }
  ByteRange range(int64_t first = 0, int64_t end = kBytes) const { return {data_ + first, end - first}; }

  void Fill() {
    for (int64_t i = 0; i < kBytes; ++i) data_[i] = ValueAt(i);
  }
  void ExpectFilled() const {
    for (int64_t i = 0; i < kBytes; ++i) ASSERT_EQ(data_[i], ValueAt(i)) << i;
  }

  // Resident bytes, as the process's list of mappings has them.
  int64_t Resident() const {
    std::ifstream smaps("/proc/self/smaps");
    bool ours = false;
    for (std::string line; std::getline(smaps, line);) {
      char* end = nullptr;
      const auto first = std::strtoull(line.c_str(), &end, 16);
      if (*end == '-') ours = first == reinterpret_cast<uintptr_t>(data_);
      if (ours && line.rfind("Rss:", 0) == 0) return std::strtoll(line.c_str() + 4, nullptr, 10) * 1024;
    }
    return -1;
  }

 private:
  uint8_t* data_;
};

class MappedFile : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/dgms_mapped_file_XXXXXX";
    file_ = mkstemp(path);
    ASSERT_GE(file_, 0);
    unlink(path);
    std::vector<uint8_t> values(kBytes);
    for (int64_t i = 0; i < kBytes; ++i) values[i] = ValueAt(i);
    ASSERT_EQ(write(file_, values.data(), kBytes), kBytes);
  }
  void TearDown() override { close(file_); }

  int file_ = -1;
};

TEST_F(MappedFile, PagesGoAndComeBack) {
  const Mapping mapping(PROT_READ, MAP_SHARED, file_);
  mapping.ExpectFilled();
  if (mapping.Resident() < 0) GTEST_SKIP() << "the system does not tell what is resident";
  const int64_t before = mapping.Resident();
  EXPECT_GE(LetGoOfFilePages({mapping.range()}), kBytes);
  EXPECT_LE(mapping.Resident(), before - kBytes);
  mapping.ExpectFilled();
}

// Layers' codes lie one behind the other, with a little between them, and claims need not be in their order.
TEST_F(MappedFile, RangesThatShareAPageAreOne) {
  const Mapping mapping(PROT_READ, MAP_SHARED, file_);
  mapping.ExpectFilled();
  const int64_t middle = kBytes / 2 + 123;
  EXPECT_EQ(LetGoOfFilePages({mapping.range(middle + 40), mapping.range(17, middle)}), kBytes);
  mapping.ExpectFilled();
}

// What a model's memory may be besides a file: its pages exist nowhere else, and must stay.
TEST_F(MappedFile, OtherMemoryStays) {
  Mapping own(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  own.Fill();
  EXPECT_EQ(LetGoOfFilePages({own.range()}), 0);
  own.ExpectFilled();

  Mapping changed(PROT_READ | PROT_WRITE, MAP_PRIVATE, file_);  // a copy of the file, written to
  std::memset(changed.data(), 5, kBytes);
  ASSERT_EQ(mprotect(changed.data(), kBytes, PROT_READ), 0);
  EXPECT_EQ(LetGoOfFilePages({changed.range()}), 0);
  for (int64_t i = 0; i < kBytes; ++i) ASSERT_EQ(changed.data()[i], 5) << i;

  Mapping shared(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);  // a file without a name
  shared.Fill();
  LetGoOfFilePages({shared.range()});
  shared.ExpectFilled();
}

// The second half becomes memory of another kind, without a gap.
void MakeHalfAnonymous(Mapping* mapping) {
  uint8_t* const half = mapping->data() + kBytes / 2;
  ASSERT_EQ(mmap(half, kBytes / 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), half);
  for (int64_t i = kBytes / 2; i < kBytes; ++i) mapping->data()[i] = ValueAt(i);
  mapping->ExpectFilled();
}

TEST_F(MappedFile, EachMappingOfARangeIsLookedAt) {
  Mapping mapping(PROT_READ, MAP_SHARED, file_);
  MakeHalfAnonymous(&mapping);
  EXPECT_EQ(LetGoOfFilePages({mapping.range()}), kBytes / 2);
  mapping.ExpectFilled();
}

// What older systems have: the list as text alone. A copy of it answers no questions.
TEST_F(MappedFile, TheListMayBeText) {
  Mapping mapping(PROT_READ, MAP_SHARED, file_);
  MakeHalfAnonymous(&mapping);
  char path[] = "/tmp/dgms_maps_XXXXXX";
  const int copy = mkstemp(path);
  ASSERT_GE(copy, 0);
  std::ifstream maps("/proc/self/maps");
  const std::string text((std::istreambuf_iterator<char>(maps)), std::istreambuf_iterator<char>());
  ASSERT_EQ(write(copy, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  EXPECT_EQ(LetGoOfFilePages({mapping.range()}, path), kBytes / 2);
  mapping.ExpectFilled();
  close(copy);
  unlink(path);
}

TEST_F(MappedFile, LittleIsNotWorthIt) {
  const Mapping mapping(PROT_READ, MAP_SHARED, file_);
  EXPECT_EQ(LetGoOfFilePages({mapping.range(0, 1000)}), 0);
  EXPECT_EQ(LetGoOfFilePages({}), 0);
}

TEST_F(MappedFile, WithoutAListOfMappingsAllStays) {
  const Mapping mapping(PROT_READ, MAP_SHARED, file_);
  EXPECT_EQ(LetGoOfFilePages({mapping.range()}, "/nowhere"), 0);
  EXPECT_EQ(LetGoOfFilePages({mapping.range()}, "/dev/zero"), 0);  // no line ever ends
}

}  // namespace
}  // namespace dgms
#endif
