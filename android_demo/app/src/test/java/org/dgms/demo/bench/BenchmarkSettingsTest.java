package org.dgms.demo.bench;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.util.Arrays;
import java.util.Collections;
import org.junit.Test;

public class BenchmarkSettingsTest {
  @Test
  public void defaults() {
    BenchmarkSettings settings = BenchmarkSettings.builder().build();
    assertEquals(Arrays.asList(PathKind.values()), settings.paths());
    assertEquals(1, settings.numThreads());
    assertEquals(5, settings.warmup());
    assertEquals(50, settings.runs());
    assertEquals(Affinity.ALL, settings.affinity());
    assertEquals(Activations.FLOAT32, settings.activations());
  }

  @Test
  public void aBuilderFromSettingsMakesEqualOnes() {
    BenchmarkSettings settings =
        BenchmarkSettings.builder()
            .setPaths("builtin, delegate")
            .setNumThreads(4)
            .setAffinity(Affinity.LITTLE)
            .setWarmup(0)
            .setRuns(7)
            .setMinSeconds(1.5)
            .setActivations(Activations.DYNAMIC_INT8)
            .setProfile(true)
            .setSustained(true)
            .setCoolDownSeconds(3)
            .setSeed(-9)
            .build()
            .toBuilder()
            .build();
    assertEquals(Arrays.asList(PathKind.BUILTIN, PathKind.DELEGATE), settings.paths());
    assertEquals(4, settings.numThreads());
    assertEquals(Affinity.LITTLE, settings.affinity());
    assertEquals(0, settings.warmup());
    assertEquals(7, settings.runs());
    assertEquals(1.5, settings.minSeconds(), 0);
    assertEquals(Activations.DYNAMIC_INT8, settings.activations());
    assertTrue(settings.profile());
    assertTrue(settings.sustained());
    assertEquals(3, settings.coolDownSeconds());
    assertEquals(-9, settings.seed());
  }

  @Test
  public void everyRuleIsChecked() {
    BenchmarkSettings.Builder b = BenchmarkSettings.builder();
    refused("numThreads must be from 1 to 64. Received: 0", () -> b.setNumThreads(0));
    refused("numThreads must be from 1 to 64. Received: 65", () -> b.setNumThreads(65));
    refused("runs must be from 1 to 100000. Received: 0", () -> b.setRuns(0));
    refused("warmup must be from 0 to 100000. Received: -1", () -> b.setWarmup(-1));
    refused("minSeconds must be from 0 to 86400. Received: NaN", () -> b.setMinSeconds(Double.NaN));
    refused("coolDownSeconds must be from 0 to 3600. Received: 3601", () -> b.setCoolDownSeconds(3601));
    refused("paths must name at least one path, each once. Received: []",
        () -> b.setPaths(Collections.<PathKind>emptyList()));
    refused("paths must name at least one path, each once. Received: [XNNPACK, XNNPACK]",
        () -> b.setPaths("xnnpack,xnnpack"));
    refused("a path must be delegate, xnnpack, builtin or dense:xnnpack. Received: \"gpu\"",
        () -> b.setPaths("delegate,gpu"));
    refused("affinity must be given. Received: null", () -> b.setAffinity(null));
    refused("the affinity must be all, big or little. Received: \"huge\"", () -> Affinity.of("huge"));
    refused("activations must be float32 or dynamic_int8. Received: \"int8\"", () -> Activations.of("int8"));
  }

  private static void refused(String message, org.junit.function.ThrowingRunnable code) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, code).getMessage());
  }
}
