package org.dgms.demo;

import android.content.Context;
import java.util.List;
import java.util.Locale;
import org.dgms.demo.bench.Affinity;
import org.dgms.demo.bench.CpuTopology;

/** A choice of cores in words. */
final class AffinityText {
  private AffinityText() {}

  /** The choice alone: "All", "Big", "Little". */
  static String plain(Context context, Affinity affinity) {
    switch (affinity) {
      case BIG:
        return context.getString(R.string.affinity_big);
      case LITTLE:
        return context.getString(R.string.affinity_little);
      default:
        return context.getString(R.string.affinity_all);
    }
  }

  /** The choice with what this machine has behind it: "Big: 4 cores, up to 2.84 GHz". */
  static String of(Context context, CpuTopology topology, Affinity affinity) {
    int[] cpus = topology.cpus(affinity);
    String cores =
        context.getResources().getQuantityString(R.plurals.cores, cpus.length, cpus.length);
    Double mhz = fastest(topology, cpus);
    if (mhz == null) {
      return context.getString(R.string.affinity_cores, plain(context, affinity), cores);
    }
    Locale locale = context.getResources().getConfiguration().getLocales().get(0);
    return context.getString(
        R.string.affinity_cores_speed,
        plain(context, affinity),
        cores,
        String.format(locale, "%.2f", mhz / 1e3));
  }

  private static Double fastest(CpuTopology topology, int[] cpus) {
    List<Double> all = topology.maxMhz();
    Double fastest = null;
    for (int cpu : cpus) {
      Double mhz = cpu < all.size() ? all.get(cpu) : null;
      if (mhz != null && (fastest == null || mhz > fastest)) {
        fastest = mhz;
      }
    }
    return fastest;
  }
}
