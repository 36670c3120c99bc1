package org.dgms.demo;

import java.util.Locale;

/** Round positions for an axis: multiples of 1, 2 or 5 times a power of ten. */
final class Ticks {
  /** Distance between two ticks. */
  final double step;

  /** First tick, at or above the lower end of the axis. */
  final double first;

  /** Number of ticks. */
  final int count;

  private Ticks(double step, double first, int count) {
    this.step = step;
    this.first = first;
    this.count = count;
  }

  /**
   * Ticks of the axis from {@code low} to {@code high}.
   *
   * @param low lower end of the axis
   * @param high upper end, above {@code low}
   * @param most the most ticks there is room for, at least 2
   */
  static Ticks of(double low, double high, int most) {
    if (!(high > low) || most < 2) {
      throw new IllegalArgumentException(
          "an axis needs low < high and room for 2 ticks. Received: low="
              + low
              + ", high="
              + high
              + ", most="
              + most);
    }
    double rough = (high - low) / most;
    double power = Math.pow(10, Math.floor(Math.log10(rough)));
    double step = 10 * power;
    for (double factor : new double[] {1, 2, 5}) {
      if (factor * power >= rough * (1 - 1e-9)) {
        step = factor * power;
        break;
      }
    }
    // The small share of a step keeps an end that is itself a multiple, however it was rounded.
    double first = Math.ceil(low / step - 1e-6) * step;
    int count = (int) Math.floor((high - first) / step + 1e-6) + 1;
    return new Ticks(step, first, count);
  }

  /** The position of tick {@code index}. */
  double at(int index) {
    double value = first + index * step;
    return Math.abs(value) < step * 1e-6 ? 0 : value;
  }

  /** The label of tick {@code index}, with as many decimals as the step needs. */
  String label(int index, Locale locale) {
    int decimals = Math.max(0, (int) -Math.floor(Math.log10(step) + 1e-9));
    return String.format(locale, "%." + decimals + "f", at(index));
  }
}
