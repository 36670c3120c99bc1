package org.dgms.demo.bench;

/** Counts of values in bins of equal width. The last bin holds its upper edge too. */
public final class Histogram {
  private final double low;
  private final double width;
  private final int[] counts;

  Histogram(double low, double width, int[] counts) {
    this.low = low;
    this.width = width;
    this.counts = counts;
  }

  /** Lower edge of the first bin, in the values' unit. */
  public double low() {
    return low;
  }

  /** Width of a bin, in the values' unit. */
  public double width() {
    return width;
  }

  /** Upper edge of the last bin, in the values' unit. */
  public double high() {
    return low + width * counts.length;
  }

  /** How many bins there are. */
  public int bins() {
    return counts.length;
  }

  /** How many values lie in a bin. */
  public int count(int bin) {
    return counts[bin];
  }

  /** The fullest bin's count. */
  public int maxCount() {
    int most = 0;
    for (int count : counts) {
      most = Math.max(most, count);
    }
    return most;
  }
}
