// The packed code stream against the golden vectors that Python's tests read too, and under exact allocations (every
// buffer is its own heap block of the exact size, so AddressSanitizer sees one byte too many).
#include "format/packed_codes.h"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace dgms {
namespace {

std::vector<uint8_t> FromHex(const std::string& text, int digits) {
  std::vector<uint8_t> values;
  if (text == "-") return values;
  for (size_t i = 0; i + digits <= text.size(); i += digits) {
    values.push_back(static_cast<uint8_t>(std::stoi(text.substr(i, digits), nullptr, 16)));
  }
  return values;
}

struct Exact {  // a heap block of exactly `size` bytes
  explicit Exact(size_t size) : data(new uint8_t[size]), size(size) {}
  explicit Exact(const std::vector<uint8_t>& bytes) : Exact(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), data.get());
  }
  std::vector<uint8_t> vector() const { return std::vector<uint8_t>(data.get(), data.get() + size); }
  std::unique_ptr<uint8_t[]> data;
  size_t size;
};

std::vector<uint8_t> Unpack(const CodeFormat& format, const std::vector<std::vector<uint8_t>>& planes, int64_t count) {
  std::vector<Exact> exact(planes.begin(), planes.end());
  const uint8_t* pointers[kMaxPlanes] = {};
  for (size_t i = 0; i < exact.size(); ++i) pointers[i] = exact[i].data.get();
  Exact codes(static_cast<size_t>(count));
  UnpackCodes(format, pointers, count, codes.data.get());
  Exact nibbles(static_cast<size_t>((count + 1) / 2));
  WidenCodes(format, pointers, count, nibbles.data.get());
  for (int64_t i = 0; i < count; ++i) EXPECT_EQ(nibbles.data[i / 2] >> (i % 2 * 4) & 15, codes.data[i]) << i;
  return codes.vector();
}

std::vector<std::vector<uint8_t>> Pack(const CodeFormat& format, const std::vector<uint8_t>& codes) {
  const int64_t count = static_cast<int64_t>(codes.size());
  std::vector<Exact> planes;
  uint8_t* pointers[kMaxPlanes] = {};
  for (int i = 0; i < format.plane_count; ++i) planes.emplace_back(static_cast<size_t>(format.plane_bytes(i, count)));
  for (int i = 0; i < format.plane_count; ++i) pointers[i] = planes[i].data.get();
  PackCodes(format, codes.data(), count, pointers);
  std::vector<std::vector<uint8_t>> result;
  for (const Exact& plane : planes) result.push_back(plane.vector());
  return result;
}

TEST(PackedCodes, GoldenVectors) {
  std::ifstream file(DGMS_GOLDEN_DIR "/packing.txt");
  ASSERT_TRUE(file) << "missing: " DGMS_GOLDEN_DIR "/packing.txt";
  int cases = 0;
  int tables = 0;
  std::string line;
  std::string word;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    words >> word;
    if (word == "case") {
      std::string name;
      int bits = 0;
      int64_t count = 0;
      words >> name >> bits >> count;
      const CodeFormat* format = CodeFormatOf(bits);
      ASSERT_NE(format, nullptr) << line;
      std::string hex;
      file >> word >> hex;
      ASSERT_EQ(word, "codes") << line;
      const std::vector<uint8_t> codes = FromHex(hex, 1);
      ASSERT_EQ(static_cast<int64_t>(codes.size()), count) << line;
      std::vector<std::vector<uint8_t>> planes;
      for (int i = 0; i < format->plane_count; ++i) {
        file >> word >> hex;
        planes.push_back(FromHex(hex, 2));
        ASSERT_EQ(static_cast<int64_t>(planes.back().size()), format->plane_bytes(i, count)) << line;
      }
      EXPECT_EQ(Unpack(*format, planes, count), codes) << line;
      EXPECT_EQ(Pack(*format, codes), planes) << line;
      ++cases;
    } else if (word == "table") {
      std::string name;
      int64_t columns = 0;
      words >> name >> columns;
      std::string hex;
      file >> word >> hex;
      const std::vector<uint8_t> bytes = FromHex(hex, 1);
      std::vector<int32_t> values(bytes.begin(), bytes.end());
      const PlaneFormat plane = name == "pairs4"   ? PlaneFormat{4, 0}
                                : name == "pairs2" ? PlaneFormat{2, 0}
                                                   : PlaneFormat{1, 2};
      EXPECT_TRUE(IsTableOf(plane, values.data(), columns)) << line;
      EXPECT_FALSE(IsTableOf(plane, values.data(), columns + 1)) << line;
      for (size_t i = 0; i < values.size(); i += 97) {  // any wrong entry is seen
        ++values[i];
        EXPECT_FALSE(IsTableOf(plane, values.data(), columns)) << line << " entry " << i;
        --values[i];
      }
      ++tables;
    }
  }
  EXPECT_GT(cases, 100);
  EXPECT_EQ(tables, 3);
}

TEST(PackedCodes, RoundTripOfEverySizeUpTo200) {
  std::mt19937 random(1);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    const CodeFormat& format = *CodeFormatOf(bits);
    for (int64_t count = 0; count <= 200; ++count) {
      std::vector<uint8_t> codes(static_cast<size_t>(count));
      for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % format.codebook_size());
      EXPECT_EQ(Unpack(format, Pack(format, codes), count), codes) << bits << " bits, " << count << " codes";
    }
  }
}

TEST(PackedCodes, PaddingBitsAreIgnored) {
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    const CodeFormat& format = *CodeFormatOf(bits);
    std::vector<std::vector<uint8_t>> planes = Pack(format, {1});
    for (int i = 0; i < format.plane_count; ++i) {
      for (uint8_t& byte : planes[i]) byte = 0xff;  // the one code becomes all ones, whatever follows it
    }
    EXPECT_EQ(Unpack(format, planes, 1), std::vector<uint8_t>{static_cast<uint8_t>(format.codebook_size() - 1)});
  }
}

TEST(PackedCodes, OnlyThreeWidthsExist) {
  for (int bits : {-1, 0, 1, 5, 8, 1 << 20}) EXPECT_EQ(CodeFormatOf(bits), nullptr) << bits;
  EXPECT_EQ(CodeFormatOf(2)->block_size(), 4);
  EXPECT_EQ(CodeFormatOf(3)->block_size(), 8);
  EXPECT_EQ(CodeFormatOf(4)->block_size(), 2);
}

}  // namespace
}  // namespace dgms
