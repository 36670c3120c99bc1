package org.dgms.demo.bench;

import java.util.Arrays;
import java.util.List;

/**
 * The statistics of a benchmark: pure functions, the same definitions as {@code dgms bench} on the desktop.
 */
public final class Statistics {
  /**
   * A benchmark counts as throttled where every path became more than this much slower between the first and
   * the last third of the run. Medians of thirds repeat within a few per cent on a phone at rest, while the
   * frequency steps that governors take when a phone gets hot cost 10 per cent and more.
   */
  public static final double THROTTLE_DRIFT = 0.10;

  /** Runs that a drift needs: three in each third, so that no single run decides a median. */
  public static final int MIN_DRIFT_RUNS = 9;

  /** Names of the thermal statuses, coolest first, as android.os.PowerManager numbers them. */
  private static final List<String> THERMAL =
      Arrays.asList("none", "light", "moderate", "severe", "critical", "emergency", "shutdown");

  /**
   * By the number of paths: the rounds of a cycle (Williams's Latin squares, rows in an order without
   * repeats).
   */
  private static final int[][][] ROUNDS = {
    {{}},
    {{0}},
    {{0, 1}},
    {{0, 1, 2}, {1, 2, 0}, {2, 0, 1}, {0, 2, 1}, {2, 1, 0}, {1, 0, 2}},
    {{0, 1, 3, 2}, {1, 2, 0, 3}, {2, 3, 1, 0}, {3, 0, 2, 1}},
  };

  private Statistics() {}

  /** The arithmetic mean. */
  public static double mean(double[] values) {
    requireValues(values);
    double sum = 0;
    for (double value : values) {
      sum += value;
    }
    return sum / values.length;
  }

  /** The sample standard deviation (n - 1 below the root); 0 for one value. */
  public static double standardDeviation(double[] values) {
    double mean = mean(values);
    if (values.length == 1) {
      return 0;
    }
    double sum = 0;
    for (double value : values) {
      sum += (value - mean) * (value - mean);
    }
    return Math.sqrt(sum / (values.length - 1));
  }

  /** The smallest value. */
  public static double minimum(double[] values) {
    requireValues(values);
    double least = values[0];
    for (double value : values) {
      least = Math.min(least, value);
    }
    return least;
  }

  /** The largest value. */
  public static double maximum(double[] values) {
    requireValues(values);
    double most = values[0];
    for (double value : values) {
      most = Math.max(most, value);
    }
    return most;
  }

  /** The 50th percentile. */
  public static double median(double[] values) {
    return percentile(values, 50);
  }

  /**
   * The q-th percentile, linear between the two nearest values (NumPy's default: rank q/100 * (n - 1),
   * counted from 0).
   *
   * @param q 0 to 100
   */
  public static double percentile(double[] values, double q) {
    requireValues(values);
    if (!(q >= 0 && q <= 100)) {
      throw new IllegalArgumentException("a percentile must be from 0 to 100. Received: " + q);
    }
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    double rank = q / 100 * (sorted.length - 1);
    int below = (int) Math.floor(rank);
    int above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
  }

  /**
   * The order in which a round runs its paths. What ran just before decides what a path finds in the caches,
   * so within the rounds of a cycle (3 paths: six, 4 paths: four) every path follows every other one equally
   * often and comes at every place equally often. No path follows itself, from one round to the next either;
   * with 4 paths these steps favour one predecessor of each.
   *
   * @param paths how many there are, at most 4
   * @param round counted from 0, warm-up rounds included
   * @return the paths' positions in running order
   */
  public static int[] order(int paths, int round) {
    if (paths < 0 || paths >= ROUNDS.length) {
      throw new IllegalArgumentException(
          "a round has 0 to " + (ROUNDS.length - 1) + " paths. Received: " + paths);
    }
    int[][] cycle = ROUNDS[paths];
    return cycle[round % cycle.length].clone();
  }

  /**
   * How much slower the last third of the runs is than the first: median of the last n/3 (rounded down) over
   * the median of the first n/3, less 1. 0.25 means 25 per cent slower.
   *
   * @return null for fewer than {@link #MIN_DRIFT_RUNS} values
   */
  public static Double drift(double[] values) {
    if (values.length < MIN_DRIFT_RUNS) {
      return null;
    }
    int third = values.length / 3;
    double first = median(Arrays.copyOfRange(values, 0, third));
    double last = median(Arrays.copyOfRange(values, values.length - third, values.length));
    return last / first - 1;
  }

  /**
   * The drift of a whole benchmark: the least of its paths' drifts. A hot phone slows every path down; what
   * slows only one is that path's own matter or a neighbour's, and its being interleaved keeps the ratios
   * fair.
   *
   * @param runs each path's times, in order
   * @return null where a path has too few runs, or no path is given
   */
  public static Double commonDrift(List<double[]> runs) {
    Double least = null;
    for (double[] values : runs) {
      Double drift = drift(values);
      if (drift == null) {
        return null;
      }
      least = least == null ? drift : Double.valueOf(Math.min(least, drift));
    }
    return least;
  }

  /**
   * Whether a benchmark was throttled: its common drift is above {@link #THROTTLE_DRIFT}, or the thermal
   * status rose.
   *
   * @param drift of {@link #commonDrift}, or null if unknown
   * @param thermalBefore the thermal status before the first run, such as "none" or "light"; null if unknown
   * @param thermalAfter the same after the last run
   * @return null where neither is known
   */
  public static Boolean throttled(Double drift, String thermalBefore, String thermalAfter) {
    int before = THERMAL.indexOf(thermalBefore);
    int after = THERMAL.indexOf(thermalAfter);
    boolean statusKnown = before >= 0 && after >= 0;
    if (drift == null && !statusKnown) {
      return null;
    }
    return (drift != null && drift > THROTTLE_DRIFT) || (statusKnown && after > before);
  }

  /**
   * The name of one of android.os.PowerManager's thermal statuses.
   *
   * @return null for a number that has no name
   */
  public static String thermalStatusName(int status) {
    return status >= 0 && status < THERMAL.size() ? THERMAL.get(status) : null;
  }

  /**
   * How the values are spread, in bins of equal width from the least to the largest value.
   *
   * @param bins how many, at least 1; values that are all equal get one bin of width 0
   */
  public static Histogram histogram(double[] values, int bins) {
    if (bins < 1) {
      throw new IllegalArgumentException("a histogram must have at least 1 bin. Received: " + bins);
    }
    return histogram(values, minimum(values), maximum(values), bins);
  }

  /**
   * The same between given edges, so that the histograms of several paths share their bins; values outside
   * count in the first or last bin.
   */
  public static Histogram histogram(double[] values, double low, double high, int bins) {
    requireValues(values);
    if (bins < 1 || !(low <= high)) {
      throw new IllegalArgumentException(
          "a histogram needs at least 1 bin and low <= high. Received: " + bins + " bins from " + low + " to "
              + high);
    }
    if (low == high) {
      return new Histogram(low, 0, new int[] {values.length});
    }
    double width = (high - low) / bins;
    int[] counts = new int[bins];
    for (double value : values) {
      int bin = (int) Math.floor((value - low) / width);
      counts[Math.max(0, Math.min(bins - 1, bin))]++;
    }
    return new Histogram(low, width, counts);
  }

  private static void requireValues(double[] values) {
    if (values.length == 0) {
      throw new IllegalArgumentException("statistics need at least one value. Received: none");
    }
  }
}
