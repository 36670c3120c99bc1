// Which processor family this file is compiled for: each macro is 0 or 1 (never undefined: we build with -Wundef).
#ifndef DGMS_KERNELS_ARCH_H_
#define DGMS_KERNELS_ARCH_H_

#if defined(__x86_64__) || defined(_M_X64)
#define DGMS_X86_64 1
#else
#define DGMS_X86_64 0
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
#define DGMS_AARCH64 1
#else
#define DGMS_AARCH64 0
#endif

#if defined(__arm__) && !DGMS_AARCH64
#define DGMS_ARM32 1
#else
#define DGMS_ARM32 0
#endif

// Whether AMX kernels are part of this build: the compiler must know the instructions (CMakeLists.txt).
#ifndef DGMS_AMX
#define DGMS_AMX 0
#endif

// Whether kernels of 64-bit ARM may be assembly where compilers make worse of intrinsics (CMakeLists.txt).
#ifndef DGMS_NEON_ASSEMBLY
#define DGMS_NEON_ASSEMBLY 1
#endif

// NEON kernels exist on both ARM families.
#define DGMS_NEON (DGMS_AARCH64 || DGMS_ARM32)

#endif  // DGMS_KERNELS_ARCH_H_
