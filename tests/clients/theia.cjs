// Theia's own language models, set up from preferences, asked once each: theia-models FILE PROMPT
//
// The classes are those of the published packages, with nothing of theirs replaced; around them are
// a registry that keeps what is added, and a tool that writes files as Theia's coder does. Each
// model prints one JSON line: its id, its words, and the usage that Theia would show.
'use strict';

const fs = require('node:fs');
require('reflect-metadata');
const openai = require('@theia/ai-openai/lib/node/openai-language-models-manager-impl');
const openaiModel = require('@theia/ai-openai/lib/node/openai-language-model');
const openaiUtils = require('@theia/ai-openai/lib/node/openai-response-api-utils');
const anthropic = require('@theia/ai-anthropic/lib/node/anthropic-language-models-manager-impl');

const [, , file, prompt] = process.argv;
const preferences = JSON.parse(fs.readFileSync(file, 'utf8'));
console.debug = console.log = () => undefined; // the classes log whole messages

class Registry {
  models = new Map();
  async getLanguageModel(id) {
    return this.models.get(id);
  }
  addLanguageModels(models) {
    for (const model of models) this.models.set(model.id, model);
  }
}

const parameters = {
  type: 'object',
  properties: { path: { type: 'string' }, content: { type: 'string' } },
  required: ['path', 'content'],
};

async function write(words) {
  const { path, content } = JSON.parse(words);
  fs.writeFileSync(path, content);
  return 'written';
}

const tools = [{ id: 'write_file', name: 'write_file', description: 'Write a text file.', parameters, handler: write }];

async function ask(model, messages) {
  const request = { messages, tools, agentId: 'Coder', sessionId: 'session', requestId: 'request' };
  const answer = await model.request(request);
  const heard = { model: model.id, text: '', usage: [] };
  for await (const part of answer.stream) {
    if (part.content) heard.text += part.content;
    if (part.input_tokens !== undefined) heard.usage.push([part.input_tokens, part.output_tokens]);
  }
  process.stdout.write(`${JSON.stringify(heard)}\n`);
}

async function main() {
  const registry = new Registry();
  const chat = new openai.OpenAiLanguageModelsManagerImpl();
  chat.languageModelRegistry = registry;
  chat.openAiModelUtils = new openaiModel.OpenAiModelUtils();
  chat.responseApiUtils = new openaiUtils.OpenAiResponseApiUtils();
  const messages = new anthropic.AnthropicLanguageModelsManagerImpl();
  messages.languageModelRegistry = registry;
  const described = (name) => preferences[name].map((one) => ({ maxRetries: 3, ...one }));
  await chat.createOrUpdateLanguageModels(...described('ai-features.openAiCustom.customOpenAiModels'));
  await messages.createOrUpdateLanguageModels(...described('ai-features.anthropicCustom.customAnthropicModels'));
  for (const model of registry.models.values()) {
    await ask(model, [
      { actor: 'system', type: 'text', text: 'You are a coder.' },
      { actor: 'user', type: 'text', text: prompt },
    ]);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
