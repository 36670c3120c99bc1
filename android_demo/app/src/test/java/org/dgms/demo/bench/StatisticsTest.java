package org.dgms.demo.bench;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.InputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Scanner;
import org.junit.Test;

public class StatisticsTest {
  /**
   * Relative. NumPy adds in pairs and Java in order, so sums of up to 500 doubles differ by at most 500 *
   * 2^-53 = 6e-14 of their terms' magnitude. Deviations lose what the mean is larger than they are: 1e6 in
   * the case "large offset".
   */
  private static final double TOLERANCE = 1e-13;

  private static final double SD_TOLERANCE = 1e-7;

  @Test
  public void agreesWithNumpy() throws Exception {
    List<JsonFields> cases = golden();
    assertEquals(7, cases.size());
    for (JsonFields c : cases) {
      String name = c.text("name");
      double[] values = c.numbers("values");
      double mean = c.number("mean");
      assertEquals(name, mean, Statistics.mean(values), TOLERANCE * mean);
      assertEquals(name, c.number("sd"), Statistics.standardDeviation(values), SD_TOLERANCE * c.number("sd"));
      assertEquals(name, c.number("min"), Statistics.minimum(values), 0);
      for (Object pair : (List<?>) c.map().get("percentiles")) {
        double q = ((Number) ((List<?>) pair).get(0)).doubleValue();
        double expected = ((Number) ((List<?>) pair).get(1)).doubleValue();
        assertEquals(name + " " + q, expected, Statistics.percentile(values, q), TOLERANCE * expected);
      }
      Double drift = c.numberOrNull("drift");
      if (drift == null) {
        assertNull(name, Statistics.drift(values));
      } else {
        assertEquals(name, drift, Statistics.drift(values), TOLERANCE * 10);
      }
    }
  }

  @Test
  public void histogramAgreesWithNumpy() throws Exception {
    for (JsonFields c : golden()) {
      JsonFields expected = c.object("histogram");
      Histogram histogram = Statistics.histogram(c.numbers("values"), 8);
      assertEquals(expected.number("low"), histogram.low(), 0);
      assertEquals(expected.number("high"), histogram.high(), TOLERANCE * expected.number("high"));
      int[] counts = new int[histogram.bins()];
      for (int i = 0; i < counts.length; i++) {
        counts[i] = histogram.count(i);
      }
      assertArrayEquals(c.text("name"), expected.sizes("counts"), counts);
    }
  }

  private static List<JsonFields> golden() throws FormatException {
    InputStream in = StatisticsTest.class.getResourceAsStream("/golden/statistics.json");
    try (Scanner scanner = new Scanner(in, "UTF-8").useDelimiter("\\A")) {
      return new JsonFields(Json.parseObject(scanner.next()), "statistics.json").objects("cases");
    }
  }

  @Test
  public void handComputed() {
    double[] values = {4, 1, 3, 2};
    assertEquals(2.5, Statistics.mean(values), 0);
    assertEquals(2.5, Statistics.median(values), 0);
    assertEquals(Math.sqrt(5.0 / 3), Statistics.standardDeviation(values), 1e-15);
    assertEquals(1, Statistics.minimum(values), 0);
    assertEquals(4, Statistics.maximum(values), 0);
    assertEquals(1.3, Statistics.percentile(values, 10), 1e-15); // rank 0.3 between 1 and 2
    assertEquals(3.7, Statistics.percentile(values, 90), 1e-15); // rank 2.7 between 3 and 4
    assertArrayEquals("the argument stays as it was", new double[] {4, 1, 3, 2}, values, 0);
  }

  @Test
  public void oneValue() {
    double[] one = {7.5};
    assertEquals(7.5, Statistics.median(one), 0);
    assertEquals(7.5, Statistics.percentile(one, 99), 0);
    assertEquals(0, Statistics.standardDeviation(one), 0);
    assertEquals(1, Statistics.histogram(one, 10).maxCount());
  }

  @Test
  public void argumentsAreChecked() {
    final double[] none = {};
    assertThrows(IllegalArgumentException.class, () -> Statistics.mean(none));
    assertThrows(IllegalArgumentException.class, () -> Statistics.median(none));
    assertThrows(IllegalArgumentException.class, () -> Statistics.percentile(new double[] {1}, 101));
    assertThrows(IllegalArgumentException.class, () -> Statistics.percentile(new double[] {1}, Double.NaN));
    assertThrows(IllegalArgumentException.class, () -> Statistics.histogram(new double[] {1}, 0));
    assertThrows(IllegalArgumentException.class, () -> Statistics.histogram(new double[] {1}, 2, 1, 3));
  }

  @Test
  public void everyPathFollowsEveryOtherOneAlike() {
    for (int paths = 2; paths <= PathKind.values().length; paths++) {
      int rounds = 12; // whole cycles of 2, 3 and 4 paths
      int[][] within = new int[paths][paths];
      int[][] places = new int[paths][paths];
      int last = -1;
      for (int round = 0; round < rounds; round++) {
        int[] order = Statistics.order(paths, round);
        int[] sorted = order.clone();
        Arrays.sort(sorted);
        for (int i = 0; i < paths; i++) {
          assertEquals("each path once", i, sorted[i]);
          assertTrue("no path follows itself", order[i] != last);
          if (i > 0) {
            within[last][order[i]]++;
          }
          places[order[i]][i]++;
          last = order[i];
        }
      }
      for (int a = 0; a < paths && paths > 2; a++) { // two paths take turns
        for (int b = 0; b < paths; b++) {
          assertEquals(a == b ? 0 : rounds / paths, within[a][b]);
          assertEquals(rounds / paths, places[a][b]);
        }
      }
    }
    assertArrayEquals(new int[] {}, Statistics.order(0, 5));
    assertThrows(IllegalArgumentException.class, () -> Statistics.order(5, 0));
  }

  @Test
  public void driftComparesThirds() {
    double[] values = {1, 1, 1, 5, 5, 5, 2, 2, 2};
    assertEquals(1.0, Statistics.drift(values), 0);
    assertEquals("a single slow run decides nothing", 0.0,
        Statistics.drift(new double[] {1, 1, 1, 1, 1, 1, 1, 90, 1}), 0);
    assertNull(Statistics.drift(new double[8]));
  }

  @Test
  public void commonDriftIsTheLeastOne() {
    double[] steady = constant(9, 1);
    double[] slower = {1, 1, 1, 1.2, 1.2, 1.2, 1.5, 1.5, 1.5};
    assertEquals(0.0, Statistics.commonDrift(Arrays.asList(slower, steady)), 0);
    assertEquals(0.5, Statistics.commonDrift(Arrays.asList(slower, slower)), 1e-15);
    assertNull(Statistics.commonDrift(Arrays.asList(slower, new double[3])));
    assertNull(Statistics.commonDrift(new ArrayList<double[]>()));
    assertEquals(0.5, Statistics.commonDrift(Collections.singletonList(slower)), 1e-15);
  }

  @Test
  public void throttledByDriftOrByStatus() {
    assertFalse("the threshold itself is not above it", Statistics.throttled(0.10, null, null));
    assertTrue(Statistics.throttled(0.1001, null, null));
    assertFalse(Statistics.throttled(-0.5, "light", "none"));
    assertTrue(Statistics.throttled(0.0, "none", "light"));
    assertTrue(Statistics.throttled(null, "light", "severe"));
    assertFalse(Statistics.throttled(null, "severe", "severe"));
    assertNull(Statistics.throttled(null, null, "severe"));
    assertNull(Statistics.throttled(null, "unheard of", "severe"));
  }

  @Test
  public void thermalStatusesHaveAndroidsNumbers() {
    assertEquals("none", Statistics.thermalStatusName(0)); // PowerManager.THERMAL_STATUS_NONE
    assertEquals("severe", Statistics.thermalStatusName(3)); // PowerManager.THERMAL_STATUS_SEVERE
    assertEquals("shutdown", Statistics.thermalStatusName(6)); // PowerManager.THERMAL_STATUS_SHUTDOWN
    assertNull(Statistics.thermalStatusName(7));
    assertNull(Statistics.thermalStatusName(-1));
  }

  @Test
  public void histogramsOfGivenEdgesHoldEveryValue() {
    Histogram histogram = Statistics.histogram(new double[] {-5, 0, 0.5, 1, 9}, 0, 1, 2);
    assertEquals(2, histogram.count(0)); // -5 and 0
    assertEquals(3, histogram.count(1)); // 0.5, the upper edge 1, and 9
    assertEquals(0.5, histogram.width(), 0);
  }

  private static double[] constant(int count, double value) {
    double[] values = new double[count];
    Arrays.fill(values, value);
    return values;
  }
}
