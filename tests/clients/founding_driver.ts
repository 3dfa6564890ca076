// Appended to the client: sends the request given on the command line, prints what the callbacks get.
const say = (line: object) => console.log(JSON.stringify(line));
await new StreamingClient().streamAgentResponse(
    JSON.parse(process.argv[2]),
    (content) => say({ content }),
    (metadata) => say({ metadata }),
    (error) => say({ error: error.message }),
);
