#include "tflite/mapped_file.h"

#include <algorithm>

#ifdef __linux__
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#endif

namespace dgms {

#ifdef __linux__
namespace {

// Fewer bytes are not worth reading the list of mappings, a tenth of a millisecond in a large process.
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

// A text file, line by line, without the C library's own buffers and locale.
class Lines {
 public:
  explicit Lines(const char* path) : file_(open(path, O_RDONLY | O_CLOEXEC)) {}
  ~Lines() {
    if (file_ >= 0) close(file_);
  }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  // The next line; null at the end.
  const char* Next() {
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

 private:
  // Few lines: the system makes up as many as are asked for, about a microsecond each, and that of a file that was just
  // mapped is among the first.
  static constexpr size_t kAtOnce = 1024;

  const int file_;
  size_t begin_ = 0, filled_ = 0;
  char buffer_[3 * 4096];  // a path has 4096 bytes at most
};

// "7f00-7f42 r--s 0000 fe:00 1234 path": a mapping that is shared ('s') mirrors what it maps, so that nothing is lost
// with a page. Private ones ('p') may have been written to.
bool ReadMapping(const char* line, Span* span, bool* shared) {
  constexpr int kShared = 3;  // of the permissions' letters
  char* at = nullptr;
  span->first = std::strtoull(line, &at, 16);
  if (*at != '-') return false;
  span->end = std::strtoull(at + 1, &at, 16);
  if (*at != ' ' || std::strlen(at) <= 1 + kShared) return false;
  *shared = at[1 + kShared] == 's';
  return true;
}

}  // namespace

int64_t LetGoOfFilePages(std::vector<ByteRange> ranges, const char* maps) {
  int64_t bytes = 0;
  for (const ByteRange& range : ranges) bytes += range.bytes;
  if (bytes < kLeastBytes) return 0;
  const std::vector<Span> pages = PagesOf(ranges);
  Lines lines(maps);
  int64_t gone = 0;
  size_t next = 0;  // the first of `pages` that does not end before the mapping
  for (const char* line = lines.Next(); line != nullptr && next < pages.size(); line = lines.Next()) {
    Span mapping = {};
    bool shared = false;
    if (!ReadMapping(line, &mapping, &shared)) break;
    while (next < pages.size() && pages[next].end <= mapping.first) ++next;
    for (size_t i = next; shared && i < pages.size() && pages[i].first < mapping.end; ++i) {
      const Span part = {std::max(pages[i].first, mapping.first), std::min(pages[i].end, mapping.end)};
      if (madvise(reinterpret_cast<void*>(part.first), part.end - part.first, MADV_DONTNEED) == 0) {
        gone += static_cast<int64_t>(part.end - part.first);
      }
    }
  }
  return gone;
}
#else
int64_t LetGoOfFilePages(std::vector<ByteRange>, const char*) { return 0; }
#endif

}  // namespace dgms
