package org.dgms.demo;

import org.dgms.demo.bench.PathKind;
import org.dgms.demo.bench.Statistics;

/**
 * The timed runs of one path, as charts need them. Immutable: arrays are not copied, so their owner
 * leaves them alone.
 */
final class LatencySeries {
  /** The path. */
  final PathKind kind;

  /** Beginning of each run since the first timed round began, in milliseconds. */
  final double[] startsMs;

  /** Duration of each run, in milliseconds. */
  final double[] runsMs;

  /** Takes at least one run. */
  LatencySeries(PathKind kind, double[] startsMs, double[] runsMs) {
    if (runsMs.length == 0 || startsMs.length != runsMs.length) {
      throw new IllegalArgumentException(
          "a series needs at least one run, and a start for each. Received: "
              + runsMs.length
              + " runs and "
              + startsMs.length
              + " starts of the path "
              + kind.id());
    }
    this.kind = kind;
    this.startsMs = startsMs;
    this.runsMs = runsMs;
  }

  /** The median run, in milliseconds. */
  double medianMs() {
    return Statistics.median(runsMs);
  }

  /** A percentile of the runs, in milliseconds. */
  double percentileMs(double q) {
    return Statistics.percentile(runsMs, q);
  }
}
