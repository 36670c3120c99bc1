/* Hides the processor's instruction sets above AVX2 from the programs of one process, so that libraries that choose
 * their kernels by CPUID take the ones of an AVX2 machine: how XNNPACK, which has no switch for it, is timed there.
 *
 *   cc -O2 -shared -fPIC -o cpuid_mask.so cpuid_mask.c
 *   LD_PRELOAD=./cpuid_mask.so program
 *
 * Linux on x86-64 with CPUID faulting (/proc/cpuinfo: cpuid_fault): the kernel can make the CPUID instruction raise
 * SIGSEGV in this process, and the handler below answers in its place, with some bits cleared. Where this cannot be
 * had, the process ends with a line and exit status 77. What the dynamic loader chose before (memcpy and the like)
 * stays. Threads inherit the setting; a program that handles SIGSEGV itself is none for this.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { kArchSetCpuid = 0x1012, kCannot = 77 };

static long SetCpuid(int enabled) { return syscall(SYS_arch_prctl, kArchSetCpuid, enabled); }

static void Cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4]) {
  SetCpuid(1);
  __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(subleaf));
  SetCpuid(0);
}

#define BIT(n) (UINT32_C(1) << (n))

/* Clears everything of AVX-512, AMX, VNNI and AVX10 (Intel's manual, volume 2, CPUID). */
static void Mask(uint32_t leaf, uint32_t subleaf, uint32_t r[4]) {
  if (leaf == 7 && subleaf == 0) {
    r[1] &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31)); /* F DQ IFMA ... BW VL */
    r[2] &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));                    /* VBMI VBMI2 VNNI BITALG POPCNT */
    r[3] &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25)); /* AVX-512 FP16 ..., AMX */
  } else if (leaf == 7 && subleaf == 1) {
    r[0] &= ~(BIT(4) | BIT(5) | BIT(21) | BIT(23));          /* AVX-VNNI, AVX-512 BF16, AMX-FP16, AVX-IFMA */
    r[3] &= ~(BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19)); /* AVX-VNNI-INT8, NE-CONVERT, AMX-COMPLEX, INT16, AVX10 */
  }
}

static void Answer(int number, siginfo_t* info, void* opaque) {
  (void)info;
  greg_t* regs = ((ucontext_t*)opaque)->uc_mcontext.gregs;
  const uint8_t* code = (const uint8_t*)regs[REG_RIP];
  if (code[0] != 0x0f || code[1] != 0xa2) { /* not CPUID: a fault of the program's own */
    signal(number, SIG_DFL);
    return;
  }
  const uint32_t leaf = (uint32_t)regs[REG_RAX], subleaf = (uint32_t)regs[REG_RCX];
  uint32_t r[4];
  Cpuid(leaf, subleaf, r);
  Mask(leaf, subleaf, r);
  regs[REG_RAX] = r[0];
  regs[REG_RBX] = r[1];
  regs[REG_RCX] = r[2];
  regs[REG_RDX] = r[3];
  regs[REG_RIP] += 2;
}

__attribute__((constructor)) static void Start(void) {
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_sigaction = Answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  if (sigaction(SIGSEGV, &action, NULL) != 0 || SetCpuid(0) != 0) {
    fputs("cpuid_mask: this machine cannot hide instruction sets (no CPUID faulting)\n", stderr);
    _exit(kCannot);
  }
}
