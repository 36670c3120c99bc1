// A plugin for qemu-user that counts executed guest instructions: a line "instructions N" at every mark and at exit. A mark is the guest's
// system call getppid, which nothing else uses: os.getppid() in Python, getppid() in C. Such counts repeat, which wall time under emulation
// does not. (One thread: threads that run at the same time would lose counts.)
// With the argument blocks=COUNT also where they were executed: at every mark the COUNT blocks (straight pieces of code, such as the body of an
// innermost loop) with the most instructions since the mark before, a line for each:
//     block SHARE EXECUTIONS INSTRUCTIONS ADDRESS CODE      (share of all instructions in percent; code in hexadecimal)
// Built by setup.sh; used as: qemu-aarch64 -plugin insn_count.so[,blocks=COUNT] PROGRAM
// Debian packages no plugin header, so the few entry points used are declared here.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct translation_block;
struct instruction;
enum { kInlineAdd = 0 };
enum { kGetppid = 173 };  // aarch64
typedef void (*syscall_cb)(plugin_id, unsigned vcpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct translation_block *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct translation_block *, int op, void *counter, uint64_t by);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_cb);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct translation_block *);
extern uint64_t qemu_plugin_tb_vaddr(const struct translation_block *);
extern struct instruction *qemu_plugin_tb_get_insn(const struct translation_block *, size_t);
extern const void *qemu_plugin_insn_data(const struct instruction *);

int qemu_plugin_version = 1;
static uint64_t executed, executed_before;

// A translated block. The emulator may translate the same code again: each has its own, and Print adds them up.
struct block {
  uint64_t address, executions, before;
  size_t instructions;
  uint32_t *code;
  struct block *next;
};
static struct block *blocks;
static size_t block_count, blocks_printed;

static int ByAddress(const void *a, const void *b) {
  const struct block *x = *(struct block *const *)a, *y = *(struct block *const *)b;
  if (x->address != y->address) return x->address < y->address ? -1 : 1;
  return x->instructions < y->instructions ? -1 : x->instructions > y->instructions;
}

static uint64_t Work(const struct block *b) { return (b->executions - b->before) * b->instructions; }

static int ByWork(const void *a, const void *b) {
  const uint64_t x = Work(*(struct block *const *)a), y = Work(*(struct block *const *)b);
  return x > y ? -1 : x < y;
}

static void PrintBlocks(uint64_t all) {
  struct block **sorted = malloc(block_count * sizeof(*sorted));
  if (sorted == NULL) return;
  size_t count = 0;
  for (struct block *b = blocks; b != NULL; b = b->next) sorted[count++] = b;
  qsort(sorted, count, sizeof(*sorted), ByAddress);
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    if (kept > 0 && ByAddress(&sorted[kept - 1], &sorted[i]) == 0) {
      sorted[kept - 1]->executions += sorted[i]->executions - sorted[i]->before;
      sorted[i]->before = sorted[i]->executions;
    } else {
      sorted[kept++] = sorted[i];
    }
  }
  qsort(sorted, kept, sizeof(*sorted), ByWork);
  for (size_t i = 0; i < kept; ++i) {
    struct block *b = sorted[i];
    if (i < blocks_printed && Work(b) > 0) {
      fprintf(stderr, "block %.2f %llu %zu %llx ", 100.0 * (double)Work(b) / (double)all, (unsigned long long)(b->executions - b->before),
              b->instructions, (unsigned long long)b->address);
      for (size_t k = 0; k < b->instructions; ++k) fprintf(stderr, "%08x", b->code[k]);
      fprintf(stderr, "\n");
    }
    b->before = b->executions;
  }
  free(sorted);
}

static void Print(void) {
  fprintf(stderr, "instructions %llu\n", (unsigned long long)executed);
  if (blocks_printed > 0) PrintBlocks(executed - executed_before);
  executed_before = executed;
}

static struct block *NewBlock(const struct translation_block *from) {
  struct block *b = calloc(1, sizeof(*b));
  const size_t count = qemu_plugin_tb_n_insns(from);
  uint32_t *code = malloc(count * sizeof(*code));
  if (b == NULL || code == NULL) {
    fprintf(stderr, "insn_count: out of memory\n");
    exit(1);
  }
  for (size_t i = 0; i < count; ++i) memcpy(&code[i], qemu_plugin_insn_data(qemu_plugin_tb_get_insn(from, i)), sizeof(*code));
  b->address = qemu_plugin_tb_vaddr(from);
  b->instructions = count;
  b->code = code;
  b->next = blocks;
  blocks = b;
  ++block_count;
  return b;
}

static void OnTranslate(plugin_id id, struct translation_block *block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, kInlineAdd, &executed, qemu_plugin_tb_n_insns(block));
  if (blocks_printed > 0) qemu_plugin_register_vcpu_tb_exec_inline(block, kInlineAdd, &NewBlock(block)->executions, 1);
}

static void OnSyscall(plugin_id id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5,
                      uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)vcpu, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number == kGetppid) Print();
}

static void AtExit(plugin_id id, void *unused) {
  (void)id, (void)unused;
  Print();
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; ++i) {
    if (strncmp(argv[i], "blocks=", 7) != 0) {
      fprintf(stderr, "insn_count: the only argument is blocks=COUNT. Received: %s\n", argv[i]);
      return 1;
    }
    blocks_printed = strtoul(argv[i] + 7, NULL, 10);
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, OnTranslate);
  qemu_plugin_register_vcpu_syscall_cb(id, OnSyscall);
  qemu_plugin_register_atexit_cb(id, AtExit, 0);
  return 0;
}
