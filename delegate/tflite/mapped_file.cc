#include "tflite/mapped_file.h"

#include <algorithm>

#ifdef __linux__
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#endif

namespace dgms {

#ifdef __linux__
namespace {

// Fewer bytes are not worth looking for their mapping.
constexpr int64_t kLeastBytes = 128 * 1024;

struct Span {
  uintptr_t first, end;
};

// The pages of all ranges in rising order, without those that are there twice.
std::vector<Span> PagesOf(const std::vector<ByteRange>& ranges) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  std::vector<Span> pages;
  for (const ByteRange& range : ranges) {
    if (range.bytes <= 0) continue;
    const auto first = reinterpret_cast<uintptr_t>(range.first);
    pages.push_back({first / page * page, (first + static_cast<uintptr_t>(range.bytes) + page - 1) / page * page});
  }
  std::sort(pages.begin(), pages.end(), [](const Span& a, const Span& b) { return a.first < b.first; });
  size_t count = 0;
  for (const Span& span : pages) {
    if (count > 0 && span.first <= pages[count - 1].end) {
      pages[count - 1].end = std::max(pages[count - 1].end, span.end);
    } else {
      pages[count++] = span;
    }
  }
  pages.resize(count);
  return pages;
}

// Shared mappings mirror what they map, so that nothing is lost with a page. Private ones may have been written to.
struct Mapping {
  Span span = {};
  bool shared = false;
};

// Linux 6.11 and later look one mapping up for who asks, instead of writing all of them down as text. This is the
// question, as in a newer linux/fs.h than most systems have.
struct MappingQuery {
  uint64_t size, flags, address;     // what is asked
  uint64_t first, end, found_flags;  // what is answered, from here on
  uint64_t page_size, offset, inode;
  uint32_t device_major, device_minor;
  uint32_t name_size, build_id_size;
  uint64_t name, build_id;
};
static_assert(sizeof(MappingQuery) == 104, "the system's procmap_query");
constexpr unsigned long kQueryMapping = _IOWR('f', 17, MappingQuery);
constexpr uint64_t kSharedMapping = 0x08, kCoveringOrNext = 0x10;

// The mappings of this process, in rising order.
class Mappings {
 public:
  explicit Mappings(const char* path) : file_(open(path, O_RDONLY | O_CLOEXEC)) {}
  ~Mappings() {
    if (file_ >= 0) close(file_);
  }
  Mappings(const Mappings&) = delete;
  Mappings& operator=(const Mappings&) = delete;

  // The first one that ends behind `address`, which never decreases from call to call; null if there is none.
  const Mapping* Behind(uintptr_t address) {
    while (last_.span.end <= address) {
      if (!(answers_ && Ask(address)) && !ReadNext()) return nullptr;
    }
    return &last_;
  }

 private:
  // False if the system does not answer such questions, or has no such mapping; then the text is read.
  bool Ask(uintptr_t address) {
    MappingQuery query = {};
    query.size = sizeof(query);
    query.flags = kCoveringOrNext;
    query.address = address;
    answers_ = ioctl(file_, kQueryMapping, &query) == 0 && query.end > address;
    if (answers_) {
      last_.span = {static_cast<uintptr_t>(query.first), static_cast<uintptr_t>(query.end)};
      last_.shared = (query.found_flags & kSharedMapping) != 0;
    }
    return answers_;
  }

  // "7f00-7f42 r--s 0000 fe:00 1234 path": 's' of the permissions' letters says that it is shared.
  bool ReadNext() {
    constexpr int kShared = 3;
    const char* line = NextLine();
    if (line == nullptr) return false;
    char* at = nullptr;
    last_.span.first = std::strtoull(line, &at, 16);
    if (*at != '-') return false;
    last_.span.end = std::strtoull(at + 1, &at, 16);
    if (*at != ' ' || std::strlen(at) <= 1 + kShared) return false;
    last_.shared = at[1 + kShared] == 's';
    return true;
  }

  // The text's next line, without the C library's own buffers and locale; null at the end.
  const char* NextLine() {
    char* line = buffer_ + begin_;
    char* end = static_cast<char*>(std::memchr(line, '\n', filled_ - begin_));
    while (end == nullptr) {
      std::memmove(buffer_, line, filled_ - begin_);
      filled_ -= begin_;
      begin_ = 0;
      line = buffer_;
      const size_t room = std::min(sizeof(buffer_) - filled_, kAtOnce);
      const ssize_t got = file_ < 0 ? 0 : read(file_, buffer_ + filled_, room);
      if (got <= 0) return nullptr;
      end = static_cast<char*>(std::memchr(buffer_ + filled_, '\n', static_cast<size_t>(got)));
      filled_ += static_cast<size_t>(got);
    }
    *end = '\0';
    begin_ = static_cast<size_t>(end - buffer_) + 1;
    return line;
  }

  // Few lines: the system makes up as many as are asked for, about a microsecond each, and that of a file that was just
  // mapped is among the first.
  static constexpr size_t kAtOnce = 1024;

  const int file_;
  bool answers_ = true;
  Mapping last_;
  size_t begin_ = 0, filled_ = 0;
  char buffer_[3 * 4096];  // a path has 4096 bytes at most
};

}  // namespace

int64_t LetGoOfFilePages(std::vector<ByteRange> ranges, const char* maps) {
  int64_t bytes = 0;
  for (const ByteRange& range : ranges) bytes += range.bytes;
  if (bytes < kLeastBytes) return 0;
  Mappings mappings(maps);
  int64_t gone = 0;
  for (const Span& pages : PagesOf(ranges)) {
    for (uintptr_t at = pages.first; at < pages.end;) {
      const Mapping* const mapping = mappings.Behind(at);
      if (mapping == nullptr) return gone;
      const Span part = {std::max(at, mapping->span.first), std::min(pages.end, mapping->span.end)};
      if (mapping->shared && part.first < part.end &&
          madvise(reinterpret_cast<void*>(part.first), part.end - part.first, MADV_DONTNEED) == 0) {
        gone += static_cast<int64_t>(part.end - part.first);
      }
      at = mapping->span.end;
    }
  }
  return gone;
}
#else
int64_t LetGoOfFilePages(std::vector<ByteRange>, const char*) { return 0; }
#endif

}  // namespace dgms
