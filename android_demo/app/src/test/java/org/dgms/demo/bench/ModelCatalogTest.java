package org.dgms.demo.bench;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class ModelCatalogTest {
  private static final String ENTRY =
      "{'name': 'net', 'title': 'A net', 'file': 'net.tflite', 'dense_file': 'net_float.tflite', 'bits': 4,"
          + " 'activations': 'float32', 'accuracy': {'top1': 0.97, 'images': 500}, 'labels': ['a', 'b'],"
          + " 'input': {'shape': [1, 8, 6, 3], 'dtype': 'float32', 'scale': 0.5, 'offset': -1,"
          + " 'channels': 3},"
          + " 'samples': [{'file': 'samples/one.png', 'label': 1}, {'file': 'samples/two.png'}]}";

  @Rule public final TemporaryFolder folder = new TemporaryFolder();

  private static String catalog(String... entries) {
    StringBuilder text = new StringBuilder("{'schema': 'dgms-models', 'schema_version': '1.0', 'models': [");
    for (int i = 0; i < entries.length; i++) {
      text.append(i == 0 ? "" : ",").append(entries[i]);
    }
    return text.append("]}").toString().replace('\'', '"');
  }

  private void file(String name, String content) throws IOException {
    Files.writeAtomically(new File(folder.getRoot(), name), content.getBytes(StandardCharsets.UTF_8));
  }

  @Test
  public void readsADescription() throws Exception {
    ModelSpec model = ModelCatalog.parse(catalog(ENTRY), new File("/m")).get(0);
    assertEquals("net", model.name());
    assertEquals("A net", model.title());
    assertEquals(new File("/m/net.tflite"), model.file());
    assertEquals(new File("/m/net_float.tflite"), model.denseFile());
    assertEquals(Integer.valueOf(4), model.bits());
    assertEquals("float32", model.activations());
    assertEquals(0.97, model.top1(), 0);
    assertEquals(Integer.valueOf(500), model.top1Images());
    assertEquals(Arrays.asList("a", "b"), model.labels());
    assertTrue(model.hasSamples());
    assertEquals(8, model.input().height());
    assertEquals(6, model.input().width());
    assertEquals(3, model.input().channels());
    assertEquals(254 * 0.5 - 1, model.input().valueOf(254), 0);
    assertEquals(new File("/m/samples/one.png"), model.samples().get(0).file());
    assertEquals(Integer.valueOf(1), model.samples().get(0).label());
    assertNull(model.samples().get(1).label());
  }

  @Test
  public void mostOfItIsOptional() throws Exception {
    ModelSpec model =
        ModelCatalog.parse(catalog("{'name': 'x', 'file': 'x.tflite'}"), folder.getRoot()).get(0);
    assertEquals("x", model.title());
    assertNull(model.denseFile());
    assertNull(model.top1());
    assertFalse(model.hasSamples());
  }

  @Test
  public void errorsSayWhere() {
    refused("models[0].file must be a string. Received: nothing", catalog("{'name': 'x'}"));
    refused(
        "models[1].name must be unique. Received: net twice",
        catalog(ENTRY, "{'name': 'net', 'file': 'y.tflite'}"));
    refused(
        "models[0].file must be a name relative to models.json, inside its folder. Received: \"../x.tflite\"",
        catalog("{'name': 'x', 'file': '../x.tflite'}"));
    refused(
        "models[0].samples[0].file must be a name relative to models.json, inside its folder."
            + " Received: \"/a\"",
        catalog(ENTRY.replace("samples/one.png", "/a")));
    refused("models[0].input.dtype must be float32 or int8. Received: float16",
        catalog(ENTRY.replace("'dtype': 'float32'", "'dtype': 'float16'")));
    refused("models[0].accuracy.top1 must be a number. Received: good",
        catalog(ENTRY.replace("0.97", "'good'")));
    refused("models[0].name must be of letters, digits, . _ -. Received: \"a/b\"",
        catalog(ENTRY.replace("'name': 'net'", "'name': 'a/b'")));
    refused("schema must be \"dgms-models\". Received: \"other\"",
        catalog(ENTRY).replace("dgms-models", "other"));
    refused("schema_version must be 1.x, which is what this program reads. Received: \"2.0\"",
        catalog(ENTRY).replace("1.0", "2.0"));
  }

  @Test
  public void aShapeMustFitTheChannels() {
    FormatException e =
        assertThrows(
            FormatException.class,
            () -> ModelCatalog.parse(catalog(ENTRY.replace("[1, 8, 6, 3]", "[1, 8, 6]")), folder.getRoot()));
    assertTrue(e.getMessage(), e.getMessage().startsWith("models[0].input.shape must be [1, height, width"));
  }

  @Test
  public void aNewerMinorVersionIsRead() throws Exception {
    String newer =
        catalog(ENTRY).replace("\"1.0\"", "\"1.7\"").replace("\"bits\"", "\"colour\": 1, \"bits\"");
    assertEquals(1, ModelCatalog.parse(newer, folder.getRoot()).size());
  }

  @Test
  public void aFolderListsDescribedModelsThenTheRest() throws Exception {
    file("models.json", catalog(ENTRY));
    file("net.tflite", "");
    file("net_float.tflite", "");
    file("zoo.tflite", "");
    file("pushed.tflite", "");
    file("pushed.dense.tflite", "");
    file("lonely.dense.tflite", "");
    file("notes.txt", "");
    List<ModelSpec> models = ModelCatalog.list(folder.getRoot());
    assertEquals(4, models.size());
    assertEquals("net", models.get(0).name());
    assertEquals("lonely.dense", models.get(1).name());
    assertEquals("pushed", models.get(2).name());
    assertEquals(new File(folder.getRoot(), "pushed.dense.tflite"), models.get(2).denseFile());
    assertEquals("zoo", models.get(3).name());
    assertNull(models.get(3).denseFile());
  }

  @Test
  public void aMissingFolderHasNoModels() throws Exception {
    assertTrue(ModelCatalog.list(new File(folder.getRoot(), "missing")).isEmpty());
  }

  @Test
  public void modelsAreFoundByNameOrPath() throws Exception {
    file("zoo.tflite", "");
    List<ModelSpec> models = ModelCatalog.list(folder.getRoot());
    assertEquals("zoo", ModelCatalog.find(models, "zoo").name());
    assertEquals("zoo", ModelCatalog.find(models, new File(folder.getRoot(), "zoo.tflite").getPath()).name());
    assertNull(ModelCatalog.find(models, "none"));
  }

  private void refused(String message, String text) {
    assertEquals(
        message,
        assertThrows(FormatException.class, () -> ModelCatalog.parse(text, folder.getRoot())).getMessage());
  }
}
