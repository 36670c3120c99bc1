#include "tflite/options.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <set>

#include "dgms/delegate.h"
#include "ops/thread_pool.h"

namespace dgms {
namespace {

constexpr size_t kMaxOptions = 64;  // far above what exists; a larger count is garbage, not options
constexpr size_t kShown = 64;       // longest part of a received text that a message repeats

// A received text for a message: cut, and ASCII only, since whoever reads the message may insist on valid UTF-8.
std::string Quoted(const char* text) {
  const size_t length = strnlen(text, kShown + 1);
  std::string shown(text, std::min(length, kShown));
  for (char& c : shown) {
    if (c < ' ' || c > '~') c = '?';
  }
  return "'" + shown + (length > kShown ? "...'" : "'");
}

// A decimal integer and nothing else (no space, no plus sign).
bool ParseInt(const char* text, int* value) {
  const char* digits = text[0] == '-' ? text + 1 : text;
  const size_t length = strnlen(digits, 10);
  if (length == 0 || length > 9) return false;  // 9 digits always fit an int
  for (size_t i = 0; i < length; ++i) {
    if (digits[i] < '0' || digits[i] > '9') return false;
  }
  *value = std::atoi(text);
  return true;
}

bool ParseBool(const char* text, bool* value) {
  const bool yes = std::strcmp(text, "1") == 0 || std::strcmp(text, "true") == 0;
  const bool no = std::strcmp(text, "0") == 0 || std::strcmp(text, "false") == 0;
  *value = yes;
  return yes || no;
}

// Letters, digits and underscores, as the names of kernel sets are: whether there is such a set is checked later.
bool IsaName(const std::string& text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !text.empty() && text.size() <= kShown && std::all_of(text.begin(), text.end(), fits);
}

// Sets one option; an empty result means success, else it is the rule that was broken.
std::string SetOption(const std::string& key, const char* value, Options* options) {
  if (key == DGMS_OPTION_NUM_THREADS) {
    int number = 0;
    if (!ParseInt(value, &number) || (number != -1 && (number < 1 || number > ThreadPool::kMaxThreads))) {
      return "`num_threads` must be -1 (choose) or 1 to " + std::to_string(ThreadPool::kMaxThreads);
    }
    options->num_threads = number == -1 ? ThreadPool::DefaultThreads() : number;
    return "";
  }
  if (key == DGMS_OPTION_ACTIVATIONS) {
    options->dynamic_int8 = std::strcmp(value, "dynamic_int8") == 0;
    const bool known = options->dynamic_int8 || std::strcmp(value, "float32") == 0;
    return known ? "" : "`activations` must be 'float32' or 'dynamic_int8'";
  }
  if (key == DGMS_OPTION_CACHE_FILTERS) {
    return ParseBool(value, &options->cache_filters) ? "" : "`cache_filters` must be 0 or 1";
  }
  if (key == DGMS_OPTION_CLAIM) {
    const bool graph = std::strcmp(value, "graph") == 0;
    options->claim = graph ? ClaimScope::kGraph : ClaimScope::kCodebook;
    return graph || std::strcmp(value, "codebook") == 0 ? "" : "`claim` must be 'graph' or 'codebook'";
  }
  if (key == DGMS_OPTION_ISA) {
    options->isa = value;
    return IsaName(options->isa) ? "" : "`isa` must be 'auto' or the name of a kernel set";
  }
  if (key == DGMS_OPTION_LOG) return ParseBool(value, &options->log) ? "" : "`log` must be 0 or 1";
  if (key == DGMS_OPTION_PROFILE) return ParseBool(value, &options->profile) ? "" : "`profile` must be 0 or 1";
  return "the options are num_threads, activations, cache_filters, claim, isa, log and profile";
}

}  // namespace

bool ParseOptions(const char* const* keys, const char* const* values, size_t count, Options* options,
                  std::string* error) {
  *options = Options();
  options->num_threads = ThreadPool::DefaultThreads();
  if (count > kMaxOptions) {
    *error = "at most " + std::to_string(kMaxOptions) + " options can be given. Received: " + std::to_string(count);
    return false;
  }
  if (count > 0 && (keys == nullptr || values == nullptr)) {
    *error = "option keys and values must not be NULL. Received: NULL";
    return false;
  }
  std::set<std::string> seen;
  for (size_t i = 0; i < count; ++i) {
    if (keys[i] == nullptr || values[i] == nullptr) {
      *error = std::string("option keys and values must not be NULL. Received: ") +
               (keys[i] == nullptr ? "a NULL key" : "a NULL value for " + Quoted(keys[i]));
      return false;
    }
    const std::string key(keys[i], strnlen(keys[i], kShown + 1));  // no option's name is longer
    const std::string rule = SetOption(key, values[i], options);
    if (!rule.empty()) {
      *error = rule + ". Received: " + Quoted(keys[i]) + " = " + Quoted(values[i]);
      return false;
    }
    if (!seen.insert(key).second) {
      *error = "an option can be given once. Received: " + Quoted(keys[i]) + " twice";
      return false;
    }
  }
  return true;
}

}  // namespace dgms
