package org.dgms.demo.bench;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Collections;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class CpuTopologyTest {
  @Rule public final TemporaryFolder folder = new TemporaryFolder();

  private CpuTopology topology(String possible, int... khz) throws IOException {
    write("possible", possible + "\n");
    for (int core = 0; core < khz.length; core++) {
      write("cpu" + core + "/cpufreq/cpuinfo_max_freq", khz[core] + "\n");
    }
    return CpuTopology.read(folder.getRoot());
  }

  private void write(String name, String text) throws IOException {
    Files.writeAtomically(new File(folder.getRoot(), name), text.getBytes(StandardCharsets.UTF_8));
  }

  @Test
  public void threeKindsOfCores() throws IOException {
    CpuTopology phone =
        topology("0-7", 1800000, 1800000, 1800000, 1800000, 2500000, 2500000, 2500000, 3000000);
    assertEquals(8, phone.cores());
    assertTrue(phone.isHeterogeneous());
    assertArrayEquals(new int[] {0, 1, 2, 3}, phone.cpus(Affinity.LITTLE));
    assertArrayEquals(new int[] {4, 5, 6, 7}, phone.cpus(Affinity.BIG));
    assertArrayEquals(new int[] {0, 1, 2, 3, 4, 5, 6, 7}, phone.cpus(Affinity.ALL));
    assertEquals("1 x 3000 MHz, 3 x 2500 MHz, 4 x 1800 MHz", phone.describe());
    assertEquals(Double.valueOf(3000), phone.maxMhz().get(7));
  }

  @Test
  public void oneKindOfCoresMeansAllForEveryChoice() throws IOException {
    CpuTopology equal = topology("0-1", 2000000, 2000000);
    assertFalse(equal.isHeterogeneous());
    assertArrayEquals(new int[] {0, 1}, equal.cpus(Affinity.BIG));
    assertArrayEquals(new int[] {0, 1}, equal.cpus(Affinity.LITTLE));
  }

  @Test
  public void unknownFrequencies() throws IOException {
    CpuTopology unknown = topology("0-3", 2000000, 1000000); // cores 2 and 3 tell nothing
    assertEquals(4, unknown.cores());
    assertFalse(unknown.isHeterogeneous());
    assertArrayEquals(new int[] {0, 1, 2, 3}, unknown.cpus(Affinity.LITTLE));
    assertEquals("4 x unknown frequency", unknown.describe());
    assertEquals(Arrays.asList(2000.0, 1000.0, null, null), unknown.maxMhz());
  }

  @Test
  public void nothingToRead() {
    CpuTopology none = CpuTopology.read(new File(folder.getRoot(), "missing"));
    assertEquals(Runtime.getRuntime().availableProcessors(), none.cores());
    assertFalse(none.isHeterogeneous());
  }

  @Test
  public void damagedFiles() throws IOException {
    write("cpu0/cpufreq/cpuinfo_max_freq", "fast\n");
    CpuTopology damaged = topology("0");
    assertEquals(1, damaged.cores());
    assertEquals(Collections.<Double>singletonList(null), damaged.maxMhz());
  }

  @Test
  public void ranges() {
    assertEquals(Arrays.asList(0, 1, 2, 3, 6), CpuTopology.parseRanges("0-3,6"));
    assertEquals(Collections.<Integer>emptyList(), CpuTopology.parseRanges("0-"));
    assertEquals(Collections.<Integer>emptyList(), CpuTopology.parseRanges(""));
    assertEquals(Collections.<Integer>emptyList(), CpuTopology.parseRanges(null));
  }

  @Test
  public void thisMachine() {
    CpuTopology here = CpuTopology.read(CpuTopology.SYSFS);
    assertTrue(here.cores() >= 1);
    assertEquals(here.cores(), here.cpus(Affinity.ALL).length);
    assertFalse(here.describe().isEmpty());
  }
}
