package org.dgms.demo.bench;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNotEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.After;
import org.junit.Before;
import org.junit.BeforeClass;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import org.tensorflow.lite.Interpreter;

/** XNNPACK with chosen threads, and CPU affinity. */
public class NativeBenchTest {
  @Rule public final TemporaryFolder folder = new TemporaryFolder();
  private int[] allowed;

  @BeforeClass
  public static void loadTflite() {
    TestModels.prepare();
  }

  @Before
  public void rememberAffinity() {
    assertNull(CpuAffinity.unavailableReason());
    allowed = CpuAffinity.get();
  }

  @After
  public void restoreAffinity() {
    CpuAffinity.set(allowed);
  }

  @Test
  public void xnnpackGetsTheThreadsThatWereAskedFor() {
    for (int threads : new int[] {1, 2, 5}) {
      int before = threadsOfThisProcess();
      try (XnnpackDelegate delegate = new XnnpackDelegate(threads)) {
        assertNotEquals(0, delegate.getNativeHandle());
        assertEquals(threads - 1, threadsOfThisProcess() - before); // the calling one works too
      }
    }
  }

  private static int threadsOfThisProcess() {
    int count = 0;
    for (File task : new File("/proc/self/task").listFiles()) {
      try {
        // Not the JVM's own, which come and go: pthreadpool's have the name of the thread that made them.
        count += Files.readText(new File(task, "comm")).equals(ownName()) ? 1 : 0;
      } catch (IOException e) {
        continue; // ended meanwhile
      }
    }
    return count;
  }

  private static String ownName() throws IOException {
    return Files.readText(new File("/proc/thread-self/comm"));
  }

  @Test
  public void xnnpackRunsAModel() throws Exception {
    File model = TestModels.first("float32").denseFile();
    try (XnnpackDelegate delegate = new XnnpackDelegate(2);
        Interpreter interpreter =
            new Interpreter(
                model, new Interpreter.Options().setUseXNNPACK(false).addDelegate(delegate))) {
      interpreter.allocateTensors();
      assertEquals(1, interpreter.getInputTensorCount());
    }
  }

  @Test
  public void aClosedDelegateIsRefused() {
    XnnpackDelegate delegate = new XnnpackDelegate(1);
    delegate.close();
    delegate.close();
    assertThrows(IllegalStateException.class, delegate::getNativeHandle);
    assertThrows(IllegalArgumentException.class, () -> new XnnpackDelegate(0));
    assertThrows(IllegalArgumentException.class, () -> new XnnpackDelegate(65));
  }

  @Test
  public void affinityIsSetAndInherited() throws Exception {
    int[] last = {allowed[allowed.length - 1]};
    CpuAffinity.set(last);
    assertArrayEquals(last, CpuAffinity.get());
    AtomicReference<int[]> ofChild = new AtomicReference<int[]>();
    Thread child = new Thread(() -> ofChild.set(CpuAffinity.get()));
    child.start();
    child.join();
    assertArrayEquals(last, ofChild.get());
    CpuAffinity.set(allowed);
    assertArrayEquals(allowed, CpuAffinity.get());
  }

  @Test
  public void affinityIsChecked() {
    assertThrows(IllegalArgumentException.class, () -> CpuAffinity.set(new int[] {}));
    assertThrows(IllegalArgumentException.class, () -> CpuAffinity.set(new int[] {-1}));
    assertThrows(IllegalArgumentException.class, () -> CpuAffinity.set(new int[] {1024}));
    IllegalStateException e =
        assertThrows(IllegalStateException.class, () -> CpuAffinity.set(new int[] {1023}));
    assertEquals("sched_setaffinity: Invalid argument", e.getMessage()); // no such core here
    assertArrayEquals(allowed, CpuAffinity.get());
  }

  @Test
  public void aBenchmarkIsBoundWhileItRuns() throws Exception {
    TestEnvironment environment = new TestEnvironment();
    environment.topology = littleCore(allowed[0]);
    AtomicReference<int[]> during = new AtomicReference<int[]>();
    BenchmarkSettings settings =
        BenchmarkSettings.builder()
            .setPaths("delegate,xnnpack,builtin")
            .setNumThreads(2)
            .setRuns(1)
            .setAffinity(Affinity.LITTLE)
            .build();
    BenchmarkResult result =
        new BenchmarkRunner(TestModels.first("float32"), settings, environment)
            .run(
                new BenchmarkRunner.Listener() {
                  @Override
                  public void onPhase(String text) {}

                  @Override
                  public void onRound(int done, int total, PathKind path, double ms) {
                    during.set(CpuAffinity.get());
                  }
                });
    assertArrayEquals(new int[] {allowed[0]}, during.get());
    assertArrayEquals("restored", allowed, CpuAffinity.get());
    assertEquals(Arrays.asList(allowed[0]), result.settings().cpus());
    assertTrue(environment.lines.contains("affinity little: bound to the cores [" + allowed[0] + "]"));
    ResultSchema.check(result.toJson());
  }

  @Test
  public void coresOfOneKindAreNotBound() throws Exception {
    TestEnvironment environment = new TestEnvironment();
    environment.topology = CpuTopology.read(folder.getRoot());
    RunLog log = new RunLog(environment);
    ThreadBinding binding = ThreadBinding.apply(Affinity.BIG, environment.topology, log);
    assertNull(binding.cpus());
    assertTrue(log.lines().get(0), log.lines().get(0).startsWith("affinity big: not bound"));
    binding.restore();
  }

  @Test
  public void coresThatAreNotThereLeaveTheBenchmarkUnbound() throws Exception {
    TestEnvironment environment = new TestEnvironment();
    environment.topology = littleCore(900);
    RunLog log = new RunLog(environment);
    ThreadBinding binding = ThreadBinding.apply(Affinity.LITTLE, environment.topology, log);
    assertNull(binding.cpus());
    assertEquals("affinity little: not bound, sched_setaffinity: Invalid argument", log.lines().get(0));
    binding.restore();
    assertArrayEquals(allowed, CpuAffinity.get());
  }

  /** A machine whose slowest core is the given one. */
  private CpuTopology littleCore(int little) throws IOException {
    int big = little + 1;
    write("possible", little + "-" + big);
    write("cpu" + little + "/cpufreq/cpuinfo_max_freq", "1000000");
    write("cpu" + big + "/cpufreq/cpuinfo_max_freq", "2000000");
    return CpuTopology.read(folder.getRoot());
  }

  private void write(String name, String text) throws IOException {
    Files.writeAtomically(new File(folder.getRoot(), name), text.getBytes(StandardCharsets.UTF_8));
  }
}
