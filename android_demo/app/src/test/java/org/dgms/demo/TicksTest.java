package org.dgms.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.util.Locale;
import java.util.Random;
import org.junit.Test;

/** Axes get few, round, evenly spaced ticks inside their range, whatever the range is. */
public final class TicksTest {
  private static String labels(double low, double high, int most) {
    Ticks ticks = Ticks.of(low, high, most);
    StringBuilder all = new StringBuilder();
    for (int i = 0; i < ticks.count; i++) {
      all.append(i == 0 ? "" : " ").append(ticks.label(i, Locale.US));
    }
    return all.toString();
  }

  @Test
  public void roundNumbers() {
    assertEquals("0 1 2 3 4 5", labels(0, 5, 5));
    assertEquals("0.0 0.2 0.4 0.6 0.8", labels(0, 0.99, 5));
    assertEquals("0.71 0.72 0.73", labels(0.705, 0.735, 4));
    assertEquals("0 500 1000", labels(0, 1234, 4));
    assertEquals("0.000 0.002 0.004", labels(0, 0.005, 3));
  }

  @Test
  public void anyRange() {
    Random random = new Random(1);
    for (int i = 0; i < 10000; i++) {
      double low = random.nextInt(3) == 0 ? 0 : Math.exp(20 * random.nextDouble() - 10);
      double high = low + Math.exp(20 * random.nextDouble() - 10);
      int most = 2 + random.nextInt(9);
      Ticks ticks = Ticks.of(low, high, most);
      String range = low + " to " + high + ", at most " + most;
      assertTrue(range + ": " + ticks.count, ticks.count >= 0 && ticks.count <= most + 1);
      for (int k = 0; k < ticks.count; k++) {
        assertTrue(
            range,
            ticks.at(k) >= low - 1e-5 * ticks.step && ticks.at(k) <= high + 1e-5 * ticks.step);
      }
    }
  }

  @Test
  public void anEmptyRangeIsRefused() {
    try {
      Ticks.of(2, 2, 5);
      fail("no ticks between 2 and 2");
    } catch (IllegalArgumentException expected) {
      assertTrue(
          expected.getMessage(), expected.getMessage().contains("Received: low=2.0, high=2.0"));
    }
  }
}
