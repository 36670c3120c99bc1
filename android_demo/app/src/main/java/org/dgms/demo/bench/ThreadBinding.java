package org.dgms.demo.bench;

import java.util.Arrays;

/**
 * The calling thread, bound to some cores until it is restored; threads that it makes in between inherit the
 * binding.
 */
final class ThreadBinding {
  private final int[] before; // null: nothing to restore
  private final int[] cpus; // null: not bound
  private final RunLog log;

  private ThreadBinding(int[] before, int[] cpus, RunLog log) {
    this.before = before;
    this.cpus = cpus;
    this.log = log;
  }

  /** Binds the thread. Where the system does not allow it, the benchmark goes on unbound and says so. */
  static ThreadBinding apply(Affinity affinity, CpuTopology topology, RunLog log) {
    if (affinity == Affinity.ALL) {
      return new ThreadBinding(null, null, log);
    }
    if (!topology.isHeterogeneous()) {
      log.add(
          "affinity " + affinity.id() + ": not bound, the cores are all of one kind or of unknown frequency");
      return new ThreadBinding(null, null, log);
    }
    int[] before = null;
    try {
      before = CpuAffinity.get();
      CpuAffinity.set(topology.cpus(affinity));
      int[] bound = CpuAffinity.get(); // cores that are offline or forbidden are missing
      log.add("affinity " + affinity.id() + ": bound to the cores " + Arrays.toString(bound));
      return new ThreadBinding(before, bound, log);
    } catch (IllegalStateException | UnsupportedOperationException e) {
      log.add("affinity " + affinity.id() + ": not bound, " + e.getMessage());
    }
    return new ThreadBinding(before, null, log);
  }

  /** The cores that the thread is bound to, or null. */
  int[] cpus() {
    return cpus;
  }

  /** Allows the thread what it was allowed before. */
  void restore() {
    if (before != null) {
      try {
        CpuAffinity.set(before);
      } catch (IllegalStateException e) {
        log.add("affinity: could not be restored, " + e.getMessage());
      }
    }
  }
}
