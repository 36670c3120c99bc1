// Which kernel each machine gets: a guard against code that silently never runs.
#include "kernels/select_kernel.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "kernels/arch.h"
#include "kernels/cpu_features.h"

#if DGMS_X86_64
#include <cpuid.h>
#endif

namespace dgms {
namespace {

#if DGMS_X86_64
// The name that the processor calls itself; an emulated one is not called like the host in /proc/cpuinfo.
std::string OwnName() {
  unsigned words[12] = {};
  for (unsigned i = 0; i < 3; ++i) {
    if (!__get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]))
      return "";
  }
  return std::string(reinterpret_cast<const char*>(words),
                     strnlen(reinterpret_cast<const char*>(words), sizeof(words)));
}

bool IsEmulated() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const std::string name = line.substr(line.find(':') + 2);
    return OwnName().find(name.substr(0, name.find_last_not_of(' ') + 1)) == std::string::npos;
  }
  return true;
}
#endif

// What the operating system says that the processor has: the other way to know.
std::set<std::string> OperatingSystemFlags() {
  std::ifstream file("/proc/cpuinfo");
  std::set<std::string> flags;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) != 0 && line.rfind("Features", 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) flags.insert(word);
    break;
  }
  return flags;
}

TEST(CpuFeatures, AgreeWithTheOperatingSystem) {
  const std::set<std::string> flags = OperatingSystemFlags();
  const CpuFeatures& cpu = DetectCpu();
#if DGMS_X86_64
  if (IsEmulated()) GTEST_SKIP() << "/proc/cpuinfo is missing, or speaks of another processor";
  const auto has = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (flags.count(name) == 0) return false;
    }
    return true;
  };
  EXPECT_EQ(cpu.avx2, has({"avx2", "fma", "f16c"}));
  EXPECT_EQ(cpu.avx512, has({"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl"}));
  EXPECT_EQ(cpu.avx512_vnni, cpu.avx512 && has({"avx512_vnni"}));
  // The kernel lists what the processor has; it may still refuse this process.
  if (!has({"amx_tile", "amx_int8"})) {
    EXPECT_FALSE(cpu.avx512_amx);
  }
#elif DGMS_AARCH64
  EXPECT_TRUE(cpu.neon) << "every 64-bit ARM processor that runs Linux has it";
  // Under emulation /proc/cpuinfo is the host's, so only a machine that speaks of ARM can be asked.
  if (flags.count("asimd") > 0) {
    EXPECT_EQ(cpu.neon_dotprod, flags.count("asimddp") > 0);
  }
#endif
  EXPECT_LE(cpu.neon_i8mm, cpu.neon);
}

TEST(SelectKernel, TheBestOfThisMachine) {
  const CpuFeatures& cpu = DetectCpu();
  const KernelSet* best = BestKernels();
  ASSERT_NE(best, nullptr);
  const std::string gemm = best->gemm->name, depthwise = best->depthwise->name;
  const std::string gemm_s8 = best->gemm_s8->name, depthwise_s8 = best->depthwise_s8->name;
  const std::string output_s8 = best->output_s8->name;
  if (cpu.avx512) {
    EXPECT_EQ(best->isa, cpu.avx512_amx ? Isa::kAvx512Amx : cpu.avx512_vnni ? Isa::kAvx512Vnni : Isa::kAvx512);
    EXPECT_EQ(gemm_s8, cpu.avx512_amx    ? "s8_32x32_avx512_amx"
                       : cpu.avx512_vnni ? "s8_14x32_avx512_vnni"
                                         : "s8_4x16_avx2");
    EXPECT_EQ(depthwise_s8, cpu.avx512_vnni ? "s8_depthwise_avx512_vnni" : "s8_depthwise_avx2");
    EXPECT_EQ(output_s8, "s8_output_avx512");
    EXPECT_EQ(gemm, "f32_14x32_avx512");
    EXPECT_EQ(depthwise, "f32_depthwise_avx512");
    EXPECT_STREQ(best->winograd->name, "f32_winograd_avx512");
    EXPECT_STREQ(best->codes->name, "f32_codes_avx512");
  } else if (cpu.avx2) {
    EXPECT_EQ(best->isa, Isa::kAvx2);
    EXPECT_EQ(gemm_s8, "s8_4x16_avx2");
    EXPECT_EQ(depthwise_s8, "s8_depthwise_avx2");
    EXPECT_EQ(output_s8, "s8_output_avx2");
    EXPECT_EQ(gemm, "f32_6x16_avx2");
    EXPECT_EQ(depthwise, "f32_depthwise_avx2");
    EXPECT_STREQ(best->winograd->name, "f32_winograd_avx2");
    EXPECT_STREQ(best->codes->name, "f32_codes_avx2");
  } else if (cpu.neon) {
    EXPECT_EQ(best->isa, cpu.neon_i8mm ? Isa::kNeonI8mm : cpu.neon_dotprod ? Isa::kNeonDotprod : Isa::kNeon);
    EXPECT_EQ(best->gemm_s8->isa, best->isa) << gemm_s8;
    EXPECT_EQ(depthwise_s8, cpu.neon_dotprod ? "s8_depthwise_neon_dotprod" : "s8_depthwise_neon");
    EXPECT_EQ(output_s8, "s8_output_neon");
    EXPECT_NE(gemm.find("neon"), std::string::npos) << gemm;
    EXPECT_NE(depthwise.find("neon"), std::string::npos) << depthwise;
    EXPECT_STREQ(best->winograd->name, "f32_winograd_neon");
    EXPECT_STREQ(best->codes->name, "f32_codes_neon");
  } else {
    EXPECT_EQ(best->isa, Isa::kPortable);
    EXPECT_EQ(gemm_s8, "s8_4x8_portable");
    EXPECT_EQ(gemm, "f32_4x8_portable");
    EXPECT_EQ(depthwise, "f32_depthwise_portable");
    EXPECT_STREQ(best->winograd->name, "f32_winograd_portable");
    EXPECT_STREQ(best->codes->name, "f32_codes_portable");
  }
}

TEST(SelectKernel, ByName) {
  const CpuFeatures& cpu = DetectCpu();
  EXPECT_EQ(KernelsFor(""), BestKernels());
  EXPECT_EQ(KernelsFor("auto"), BestKernels());
  for (const char* unknown : {"avx", "AVX2", "avx512 ", "sse", "portable,avx2"})
    EXPECT_EQ(KernelsFor(unknown), nullptr) << unknown;
  const std::pair<const char*, bool> expected[] = {
      {"portable", true}, {"neon", cpu.neon},     {"neon_dotprod", cpu.neon_dotprod}, {"neon_i8mm", cpu.neon_i8mm},
      {"avx2", cpu.avx2}, {"avx512", cpu.avx512}, {"avx512_vnni", cpu.avx512_vnni},   {"avx512_amx", cpu.avx512_amx}};
  for (const auto& [name, there] : expected) {
    const KernelSet* set = KernelsFor(name);
    ASSERT_EQ(set != nullptr, there) << name;
    if (set == nullptr) continue;
    EXPECT_STREQ(IsaName(set->isa), name);
    ASSERT_NE(set->gemm, nullptr);
    ASSERT_NE(set->depthwise, nullptr);
    ASSERT_NE(set->codes, nullptr);
    ASSERT_NE(set->gemm_s8, nullptr);
    ASSERT_NE(set->depthwise_s8, nullptr);
    ASSERT_NE(set->output_s8, nullptr);
    ASSERT_NE(set->pointwise, nullptr);
    EXPECT_LE(set->pointwise->isa, set->isa);
    // Its own kernels, or a lower set's: the sets that add int8 instructions have no float kernels of their own, and
    // AVX-512 without VNNI no int8 ones.
    EXPECT_LE(set->gemm->isa, set->isa);
    EXPECT_LE(set->gemm_s8->isa, set->isa);
    if (set->isa != Isa::kAvx512) {
      EXPECT_EQ(set->gemm_s8->isa, set->isa);
    }
    if (set->isa != Isa::kNeonDotprod && set->isa != Isa::kNeonI8mm && set->isa != Isa::kAvx512Vnni &&
        set->isa != Isa::kAvx512Amx) {
      EXPECT_EQ(set->gemm->isa, set->isa);
      EXPECT_EQ(set->depthwise->isa, set->isa);
      EXPECT_EQ(set->pointwise->isa, set->isa);
    }
  }
}

TEST(SelectKernel, ListsAreSane) {
  int count = 0;
  const GemmF32Kernel* const* gemm = GemmF32Kernels(&count);
  ASSERT_GE(count, 1);
  std::set<std::string> names;
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE(names.insert(gemm[i]->name).second) << gemm[i]->name;
    EXPECT_GE(gemm[i]->max_rows, 1);
    EXPECT_NE(gemm[i]->pack, nullptr);
    EXPECT_NE(gemm[i]->decode, nullptr);
    EXPECT_NE(gemm[i]->gemm, nullptr);
    EXPECT_NE(gemm[i]->gemv, nullptr);
  }
  DepthwiseF32Kernels(&count);
  ASSERT_GE(count, 1);
  const GemmS8Kernel* const* gemm_s8 = GemmS8Kernels(&count);
  ASSERT_GE(count, 1);
  for (int i = 0; i < count; ++i) EXPECT_TRUE(names.insert(gemm_s8[i]->name).second) << gemm_s8[i]->name;
  DepthwiseS8Kernels(&count);
  ASSERT_GE(count, 1);
  OutputS8Kernels(&count);
  ASSERT_GE(count, 1);
  const PointwiseKernel* const* pointwise = PointwiseKernels(&count);
  ASSERT_GE(count, 1);
  for (int i = 0; i < count; ++i) EXPECT_TRUE(names.insert(pointwise[i]->name).second) << pointwise[i]->name;
}

}  // namespace
}  // namespace dgms
